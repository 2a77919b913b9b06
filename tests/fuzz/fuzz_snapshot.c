/* The snapshot loader on any bytes: it loads a store that passes store_check and can be
 * written and loaded again to the same digest, or it refuses; it never crashes.
 *
 * The first byte chooses the size of the pieces and whether the checksums are put right
 * first, without which nothing behind the first block would ever be reached. The digest
 * cannot be put right like that; the loader compares it after all else has been linked,
 * so everything before is still exercised. Seeds: what test_snapshot writes with
 * USHER_SNAPSHOT_SEEDS=FOLDER. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "store/store.h"

#define HEAD_BYTES 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Makes the chain of checksums right, as far as blocks can be followed. */
static void mend(uint8_t *p, size_t len)
{
    if (len < HEAD_BYTES) {
        return;
    }
    memcpy(p, "USHERSNP\1\0\0\0", HEAD_BYTES);
    uint64_t sum = hash64_seed(p, HEAD_BYTES, 0);
    for (size_t at = HEAD_BYTES; len - at >= 13;) {
        uint32_t block;
        memcpy(&block, p + at + 1, sizeof block);
        if (block > len - at - 13) {
            block = (uint32_t)(len - at - 13);
            memcpy(p + at + 1, &block, sizeof block);
        }
        sum = hash64_seed(p + at, 5 + (size_t)block, sum);
        memcpy(p + at + 5 + block, &sum, sizeof sum);
        at += 13 + (size_t)block;
    }
}

static struct store *load(const uint8_t *data, size_t len, size_t piece)
{
    struct store_loader *l = store_load_begin();
    struct store *s = NULL;
    struct error e = { 0 };
    for (size_t at = 0; at < len; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        if (store_load_feed(l, data + at, n, &e) != 0) {
            store_load_abort(l);
            return NULL;
        }
    }
    return store_load_end(l, &s, &e) == 0 ? s : NULL;
}

static void again(struct store *s)
{
    struct buf b = BUF_INIT;
    struct snapshot *n;
    struct error e;
    bool done = false;
    if (store_check(s, &e) != 0 || store_snapshot_begin(s, &n, &e) != 0) {
        abort();
    }
    while (!done) {
        if (store_snapshot_next(n, 4096, &b, &done, &e) != 0) {
            abort();
        }
    }
    store_snapshot_end(n);
    struct store *t = load(b.data, b.len, b.len);
    if (t == NULL || store_digest(t) != store_digest(s)) {
        abort();
    }
    store_free(t);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    size_t len = size - 1, piece = (size_t)(data[0] >> 1) + 1;
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data + 1, len);
    if (data[0] & 1) {
        mend(copy, len);
    }
    struct store *s = load(copy, len, piece);
    if (s != NULL) {
        again(s);
        store_free(s);
    }
    free(copy);
    return 0;
}
