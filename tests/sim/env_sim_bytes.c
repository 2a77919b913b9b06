/* See env_sim_bytes.h. Invariant: bytes of the last page behind `size` are zero. */
#include "env_sim_bytes.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env_sim_internal.h"

void bytes_free(struct bytes *b)
{
    for (size_t i = 0; i < b->pages_count; i++) {
        free(b->pages[i]);
    }
    free(b->pages);
    *b = (struct bytes){ NULL, 0, 0 };
}

void bytes_resize(struct bytes *b, uint64_t size)
{
    size_t want = (size_t)((size + PAGE_BYTES - 1) / PAGE_BYTES);
    for (size_t i = want; i < b->pages_count; i++) {
        free(b->pages[i]);
    }
    if (want != b->pages_count) {
        b->pages = realloc(b->pages, (want > 0 ? want : 1) * sizeof *b->pages);
        ASSERT(b->pages != NULL);
        for (size_t i = b->pages_count; i < want; i++) {
            b->pages[i] = NULL;
        }
        b->pages_count = want;
    }
    if (size < b->size && size % PAGE_BYTES != 0 && b->pages[want - 1] != NULL) {
        memset(b->pages[want - 1] + size % PAGE_BYTES, 0, PAGE_BYTES - size % PAGE_BYTES);
    }
    b->size = size;
}

void bytes_copy(struct bytes *to, const struct bytes *from)
{
    bytes_free(to);
    bytes_resize(to, from->size);
    for (size_t i = 0; i < from->pages_count; i++) {
        if (from->pages[i] != NULL) {
            to->pages[i] = sim_alloc(PAGE_BYTES);
            memcpy(to->pages[i], from->pages[i], PAGE_BYTES);
        }
    }
}

void bytes_write(struct bytes *b, uint64_t at, const uint8_t *data, uint64_t len)
{
    if (len > 0 && at + len > b->size) {
        bytes_resize(b, at + len);
    }
    while (len > 0) {
        uint8_t **page = &b->pages[at / PAGE_BYTES];
        size_t in_page = at % PAGE_BYTES;
        size_t n = PAGE_BYTES - in_page < len ? PAGE_BYTES - in_page : (size_t)len;
        if (data != NULL) {
            if (*page == NULL) {
                *page = sim_alloc(PAGE_BYTES);
            }
            memcpy(*page + in_page, data, n);
            data += n;
        } else if (*page != NULL) {
            memset(*page + in_page, 0, n);
        }
        at += n;
        len -= n;
    }
}

size_t bytes_read(const struct bytes *b, uint64_t at, uint8_t *out, size_t len)
{
    if (at >= b->size) {
        return 0;
    }
    size_t total = b->size - at < len ? (size_t)(b->size - at) : len;
    for (size_t done = 0; done < total;) {
        const uint8_t *page = b->pages[(at + done) / PAGE_BYTES];
        size_t in_page = (at + done) % PAGE_BYTES;
        size_t n = PAGE_BYTES - in_page < total - done ? PAGE_BYTES - in_page : total - done;
        if (page != NULL) {
            memcpy(out + done, page + in_page, n);
        } else {
            memset(out + done, 0, n);
        }
        done += n;
    }
    return total;
}
