/* Order ids give access to an order, so whoever has seen many of them must not be able
 * to compute the next: a stream cipher, not a statistical generator. From one seed the
 * simulator gets the same ids again. */
#include "policy/random.h"

#include <string.h>

/* ChaCha12: no attack reaches beyond 7 rounds, and an id is made for every booking. */
#define ROUNDS 12

static uint32_t rotl(uint32_t v, int n) { return (v << n) | (v >> (32 - n)); }

static void quarter(uint32_t *x, int a, int b, int c, int d)
{
    x[a] += x[b];
    x[d] = rotl(x[d] ^ x[a], 16);
    x[c] += x[d];
    x[b] = rotl(x[b] ^ x[c], 12);
    x[a] += x[b];
    x[d] = rotl(x[d] ^ x[a], 8);
    x[c] += x[d];
    x[b] = rotl(x[b] ^ x[c], 7);
}

static void next_block(struct random *r)
{
    uint32_t in[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
    memcpy(in + 4, r->key, sizeof(r->key));
    in[12] = (uint32_t)r->counter;
    in[13] = (uint32_t)(r->counter >> 32);
    memcpy(r->block, in, sizeof(in));
    for (int i = 0; i < ROUNDS / 2; i++) {
        for (int c = 0; c < 4; c++) {
            quarter(r->block, c, 4 + c, 8 + c, 12 + c);
        }
        for (int c = 0; c < 4; c++) {
            quarter(r->block, c, 4 + (c + 1) % 4, 8 + (c + 2) % 4, 12 + (c + 3) % 4);
        }
    }
    for (int i = 0; i < 16; i++) {
        r->block[i] += in[i];
    }
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
