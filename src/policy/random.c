/* Order ids give access to an order, so whoever has seen many of them must not be able
 * to compute the next: a stream cipher, not a statistical generator. From one seed the
 * simulator gets the same ids again. */
#include "policy/random.h"

#include <stdbool.h>
#include <string.h>

/* ChaCha12: no attack reaches beyond 7 rounds, and an id is made for every booking. */
#define ROUNDS 12

/* A row of the 4 x 4 state. The columns of a round do not depend on each other: they are computed
 * at once, which makes a block four times as cheap. */
typedef uint32_t lanes __attribute__((vector_size(16)));

static inline lanes rotl(lanes v, int n) { return v << n | v >> (32 - n); }

/* Quarter rounds of all four columns (RFC 8439, 2.1). */
static inline void quarters(lanes x[4])
{
    x[0] += x[1];
    x[3] = rotl(x[3] ^ x[0], 16);
    x[2] += x[3];
    x[1] = rotl(x[1] ^ x[2], 12);
    x[0] += x[1];
    x[3] = rotl(x[3] ^ x[0], 8);
    x[2] += x[3];
    x[1] = rotl(x[1] ^ x[2], 7);
}

/* Turns the rows so that the diagonals stand in columns, or, the other way round, back. */
static inline void turn(lanes x[4], bool back)
{
    lanes left1 = __builtin_shufflevector(x[1], x[1], 1, 2, 3, 0);
    lanes right1 = __builtin_shufflevector(x[1], x[1], 3, 0, 1, 2);
    lanes left3 = __builtin_shufflevector(x[3], x[3], 1, 2, 3, 0);
    lanes right3 = __builtin_shufflevector(x[3], x[3], 3, 0, 1, 2);
    x[1] = back ? right1 : left1;
    x[2] = __builtin_shufflevector(x[2], x[2], 2, 3, 0, 1);
    x[3] = back ? left3 : right3;
}

static void next_block(struct random *r)
{
    uint32_t in[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
    memcpy(in + 4, r->key, sizeof(r->key));
    in[12] = (uint32_t)r->counter;
    in[13] = (uint32_t)(r->counter >> 32);
    lanes x[4], first[4];
    memcpy(first, in, sizeof(in));
    memcpy(x, in, sizeof(in));
    for (int i = 0; i < ROUNDS / 2; i++) {
        quarters(x);
        turn(x, false);
        quarters(x);
        turn(x, true);
    }
    for (int i = 0; i < 4; i++) {
        x[i] += first[i];
    }
    memcpy(r->block, x, sizeof(x));
    r->counter++;
    r->used = 0;
}

void random_init(struct random *r, const uint64_t seed[2])
{
    memset(r, 0, sizeof(*r));
    for (int i = 0; i < 4; i++) {
        r->key[i] = (uint32_t)(seed[i / 2] >> (i % 2 * 32));
        r->key[i + 4] = ~r->key[i];
    }
    r->used = 16;
}

uint64_t random_u64(struct random *r)
{
    if (r->used + 2 > 16) {
        next_block(r);
    }
    uint64_t low = r->block[r->used], high = r->block[r->used + 1];
    r->used += 2;
    return low | high << 32;
}

void random_order_id(struct random *r, char out[ORDER_ID_BYTES])
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t bits = random_u64(r);
    if (r->used == 16) {
        next_block(r);
    }
    uint32_t more = r->block[r->used++];
    for (int i = 0; i < ORDER_ID_BYTES - 1; i++) {
        out[i] = digits[bits & 31];
        bits >>= 5;
    }
    out[ORDER_ID_BYTES - 1] = digits[(bits | (uint64_t)more << 4) & 31];
}
