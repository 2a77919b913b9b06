/* Sparse contents of a simulated file: pages of 4 KiB, absent ones read as zero, so
 * that preallocated segments cost nothing. */
#ifndef USHER_TESTS_SIM_ENV_SIM_BYTES_H
#define USHER_TESTS_SIM_ENV_SIM_BYTES_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u

struct bytes {
    uint8_t **pages;
    size_t pages_count;
    uint64_t size;
};

void bytes_free(struct bytes *b);
void bytes_resize(struct bytes *b, uint64_t size);
void bytes_copy(struct bytes *to, const struct bytes *from);
/* data NULL writes zeros; grows when needed. */
void bytes_write(struct bytes *b, uint64_t at, const uint8_t *data, uint64_t len);
size_t bytes_read(const struct bytes *b, uint64_t at, uint8_t *out, size_t len);

#endif
