/* Unguessable and reproducible randomness: ChaCha (RFC 8439, with 12 rounds) keyed by a seed. */
#ifndef USHER_POLICY_RANDOM_H
#define USHER_POLICY_RANDOM_H

#include <stdint.h>

struct random {
    uint32_t key[8];
    uint64_t counter;
    uint32_t block[16];
    unsigned used; /* words of the block given out */
};

#define ORDER_ID_BYTES 13

void random_init(struct random *r, const uint64_t seed[2]);
uint64_t random_u64(struct random *r);
/* 65 random bits as 13 digits of Crockford's base 32 (no I, L, O, U). */
void random_order_id(struct random *r, char out[ORDER_ID_BYTES]);

#endif
