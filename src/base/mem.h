/* The one allocator of the program's C code.
 *
 * In production it is malloc. Tests install hooks that count live blocks and
 * fail the N-th allocation. mem_alloc and friends return NULL on failure and
 * callers return ERR_NOMEM; the mem_must_* forms end the process with a message
 * and are for places below the log, where nothing may fail (design.md 2). */
#ifndef USHER_BASE_MEM_H
#define USHER_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t bytes);                       /* NULL on failure; bytes may be 0 */
void *mem_zalloc(size_t bytes);                      /* zero-filled */
void *mem_alloc_aligned(size_t align, size_t bytes); /* bytes: a multiple of align */
void *mem_realloc(void *p, size_t bytes);            /* p may be NULL */
void mem_free(void *p);                              /* p may be NULL */
char *mem_strndup(const char *s, size_t len);        /* adds a NUL */
void *mem_must_alloc(size_t bytes);
void *mem_must_realloc(void *p, size_t bytes);

/* Test hooks. fail_at: the allocation (counted from 1 after this call) that
 * returns NULL, 0 for none. */
void mem_test_fail_at(uint64_t fail_at);
uint64_t mem_test_count(void); /* allocations since mem_test_fail_at */
int64_t mem_test_live(void);   /* blocks alive now */

#endif
