/* What a snapshot says of itself, from its first bytes alone.
 *
 * The META block is the first and small; its checksum continues the head's. Nothing behind
 * it is looked at: this tells a backup's header what it contains, loading verifies it. */
#include <string.h>

#include "store/snapshot.h"

int store_snapshot_peek(const void *data, size_t len, struct store_snapshot_facts *out,
                        struct error *e)
{
    struct reader r, meta;
    struct snapshot_meta m;
    reader_init(&r, data, len);
    const uint8_t *head = reader_raw(&r, SNAPSHOT_HEAD_BYTES);
    if (head == NULL || memcmp(head, SNAPSHOT_MAGIC, 8) != 0) {
        return error_set(e, ERR_CORRUPT, "not a snapshot");
    }
    const uint8_t *block = r.p;
    uint8_t type = reader_u8(&r);
    size_t bytes = reader_u32(&r);
    const uint8_t *body = reader_raw(&r, bytes);
    uint64_t sum = reader_u64(&r);
    if (r.failed || type != BLOCK_META ||
        sum !=
            snapshot_checksum(block, 5 + bytes, snapshot_checksum(head, SNAPSHOT_HEAD_BYTES, 0))) {
        return error_set(e, ERR_CORRUPT, "the snapshot's first block is damaged");
    }
    reader_init(&meta, body, bytes);
    if (!meta_get(&meta, &m)) {
        return error_set(e, ERR_CORRUPT, "the snapshot's first block is malformed");
    }
    *out =
        (struct store_snapshot_facts){ .time_ms = m.time_ms, .index = m.index, .digest = m.digest };
    return 0;
}
