/* See mem.h. The live counter is atomic: disk jobs run on worker threads. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int64_t live_blocks;
static _Atomic uint64_t alloc_count;
static _Atomic uint64_t alloc_fail_at;

static int must_fail(void)
{
    uint64_t at = atomic_load_explicit(&alloc_fail_at, memory_order_relaxed);
    if (at == 0) {
        return 0;
    }
    return atomic_fetch_add(&alloc_count, 1) + 1 == at;
}

void *mem_alloc(size_t bytes)
{
    void *p = must_fail() ? NULL : malloc(bytes != 0 ? bytes : 1);
    if (p != NULL) {
        atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    }
    return p;
}

void *mem_zalloc(size_t bytes)
{
    void *p = must_fail() ? NULL : calloc(1, bytes != 0 ? bytes : 1);
    if (p != NULL) {
        atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    }
    return p;
}

void *mem_alloc_aligned(size_t align, size_t bytes)
{
    void *p = must_fail() ? NULL : aligned_alloc(align, bytes);
    if (p != NULL) {
        atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    }
    return p;
}

void *mem_realloc(void *old, size_t bytes)
{
    void *p = must_fail() ? NULL : realloc(old, bytes != 0 ? bytes : 1);
    if (p != NULL && old == NULL) {
        atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    }
    return p;
}

void mem_free(void *p)
{
    if (p != NULL) {
        atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
        free(p);
    }
}

char *mem_strndup(const char *s, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (copy != NULL) {
        if (len > 0) {
            memcpy(copy, s, len);
        }
        copy[len] = 0;
    }
    return copy;
}

static void *must(void *p, size_t bytes)
{
    if (p == NULL) {
        (void)fprintf(stderr, "usher: out of memory (%zu bytes wanted): stopping\n", bytes);
        abort();
    }
    return p;
}

void *mem_must_alloc(size_t bytes) { return must(mem_alloc(bytes), bytes); }
void *mem_must_realloc(void *p, size_t bytes) { return must(mem_realloc(p, bytes), bytes); }

void mem_test_fail_at(uint64_t fail_at)
{
    atomic_store(&alloc_count, 0);
    atomic_store(&alloc_fail_at, fail_at);
}

uint64_t mem_test_count(void) { return atomic_load(&alloc_count); }
int64_t mem_test_live(void) { return atomic_load(&live_blocks); }
