/* Numbered elements in pages that never move and are never given back.
 *
 * A number of 4 bytes names an element where a pointer would need 8. Free elements
 * are linked through their last 4 bytes and otherwise zero, so a scan over all
 * numbers can tell them apart. */
#include <string.h>

#include "store/store_impl.h"

#define POOL_NUMBER_MAX WORD_MASK

static uint32_t *link_of(const struct pool *p, uint32_t n)
{
    return (uint32_t *)(void *)((uint8_t *)pool_at(p, n) + p->size - sizeof(uint32_t));
}

void pool_init(struct pool *p, struct slab *memory, size_t size)
{
    memset(p, 0, sizeof *p);
    p->memory = memory;
    p->size = (uint32_t)size;
    p->next = 1;
}

void pool_close(struct pool *p)
{
    for (uint32_t i = 0; i < p->pages_len; i++) {
        slab_free(p->memory, p->pages[i], (size_t)p->size * POOL_PAGE);
    }
    slab_free(p->memory, p->pages, sizeof *p->pages * p->pages_cap);
    p->pages = NULL;
    p->pages_len = p->pages_cap = 0;
}

static bool add_page(struct pool *p)
{
    if (p->pages_len == p->pages_cap) {
        uint32_t cap = p->pages_cap == 0 ? 4 : p->pages_cap * 2;
        uint8_t **pages = slab_alloc(p->memory, sizeof *pages * cap);
        if (pages == NULL) {
            return false;
        }
        if (p->pages_len > 0) {
            memcpy(pages, p->pages, sizeof *pages * p->pages_len);
        }
        slab_free(p->memory, p->pages, sizeof *pages * p->pages_cap);
        p->pages = pages;
        p->pages_cap = cap;
    }
    uint8_t *page = slab_alloc(p->memory, (size_t)p->size * POOL_PAGE);
    if (page == NULL) {
        return false;
    }
    memset(page, 0, (size_t)p->size * POOL_PAGE);
    p->pages[p->pages_len++] = page;
    return true;
}

bool pool_reserve(struct pool *p, uint32_t count)
{
    while (p->free + ((uint64_t)p->pages_len << POOL_SHIFT) - (p->pages_len == 0 ? 0 : p->next) <
           count) {
        if (((uint64_t)p->pages_len << POOL_SHIFT) >= POOL_NUMBER_MAX || !add_page(p)) {
            return false;
        }
    }
    return true;
}

uint32_t pool_get(struct pool *p)
{
    if (p->first != 0) {
        uint32_t n = p->first;
        p->first = *link_of(p, n);
        *link_of(p, n) = 0;
        p->free--;
        return n;
    }
    ASSERT(p->next < (uint64_t)p->pages_len << POOL_SHIFT);
    return p->next++;
}

void pool_put(struct pool *p, uint32_t n)
{
    memset(pool_at(p, n), 0, p->size);
    *link_of(p, n) = p->first;
    p->first = n;
    p->free++;
}
