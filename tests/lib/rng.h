/* Seeded random numbers for tests (splitmix64): a failure prints its seed, and
 * USHER_SEED=N replays it. */
#ifndef USHER_TESTS_LIB_RNG_H
#define USHER_TESTS_LIB_RNG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* 0 .. n-1; n must not be 0. */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

/* True once in n calls on average. */
static inline bool rng_one_in(struct rng *r, uint32_t n) { return rng_below(r, n) == 0; }

static inline uint64_t rng_seed_from_env(uint64_t otherwise)
{
    const char *text = getenv("USHER_SEED");
    return text != NULL && *text != 0 ? strtoull(text, NULL, 0) : otherwise;
}

#endif
