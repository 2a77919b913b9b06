/* The bytes of a backup file, and reading one (see backup_format.h).
 *
 *   header (512) | blocks: 16 bytes of head, then payload | trailer (32)
 *
 * Blocks and trailer are those of snapshot files, their checksums seeded with the entry's
 * index and term and their place. So what a copy can do to a file is seen: cut short, a bit
 * turned over, blocks left out, repeated or moved, something appended.
 *
 * How it fails: with ERR_CORRUPT, the file's name, the offset, and what to do; a file that
 * is something else altogether is ERR_BADARG.
 *
 * Invariants
 *   1 nothing of a block is handed out before all of it was verified
 *   2 `got` 0 comes only after the trailer agreed with what was read and the file ended */
#include "raftio/backup_format.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "raftio/journal_format.h"

#define BACKUP_MAGIC "USHRBAK\0"
#define CHECKSUM_AT  (BACKUP_HEADER_BYTES - 8)

/* ---- Header --------------------------------------------------------------------------- */

void backup_head_encode(uint8_t out[BACKUP_HEADER_BYTES], const struct backup_head *h)
{
    struct buf b = BUF_INIT;
    buf_put(&b, BACKUP_MAGIC, 8);
    buf_put_u32(&b, BACKUP_VERSION);
    buf_put_u32(&b, h->feature_level);
    buf_put_u64(&b, h->cluster_id);
    buf_put_u64(&b, h->node_id);
    buf_put_u64(&b, h->index);
    buf_put_u64(&b, h->term);
    buf_put_u64(&b, h->time_ms);
    buf_put_u64(&b, h->digest);
    buf_put_u64(&b, h->taken_ms);
    buf_put_u32(&b, h->version);
    buf_put_u32(&b, 0);
    memset(out, 0, BACKUP_HEADER_BYTES);
    if (!b.failed) {
        memcpy(out, b.data, b.len);
        memcpy(out + b.len, h->address, strnlen(h->address, sizeof h->address - 1));
    }
    buf_free(&b);
    uint64_t sum = hash64(out, CHECKSUM_AT);
    for (size_t i = 0; i < 8; i++) {
        out[CHECKSUM_AT + i] = (uint8_t)(sum >> (8 * i));
    }
}

static enum format_status head_decode(const uint8_t *p, size_t len, struct backup_head *out)
{
    struct reader r;
    memset(out, 0, sizeof *out);
    if (len < BACKUP_HEADER_BYTES || memcmp(p, BACKUP_MAGIC, 8) != 0) {
        return FORMAT_FOREIGN;
    }
    reader_init(&r, p + CHECKSUM_AT, 8);
    if (reader_u64(&r) != hash64(p, CHECKSUM_AT)) {
        return FORMAT_BAD;
    }
    reader_init(&r, p + 8, CHECKSUM_AT - 8);
    if (reader_u32(&r) != BACKUP_VERSION) {
        return FORMAT_VERSION;
    }
    out->feature_level = reader_u32(&r);
    out->cluster_id = reader_u64(&r);
    out->node_id = reader_u64(&r);
    out->index = reader_u64(&r);
    out->term = reader_u64(&r);
    out->time_ms = reader_u64(&r);
    out->digest = reader_u64(&r);
    out->taken_ms = reader_u64(&r);
    out->version = reader_u32(&r);
    (void)reader_u32(&r);
    const uint8_t *address = reader_raw(&r, sizeof out->address);
    memcpy(out->address, address, sizeof out->address - 1);
    return out->index == 0 || out->term == 0 ? FORMAT_BAD : FORMAT_OK;
}

static struct snapshot_header frame_of(const struct backup_head *h)
{
    return (struct snapshot_header){ .index = h->index, .term = h->term };
}

void backup_put_blocks(struct buf *out, const struct backup_head *h, struct snapshot_trailer *t,
                       const void *data, size_t len)
{
    const struct snapshot_header frame = frame_of(h);
    for (size_t at = 0; at < len;) {
        size_t part = len - at < SNAPSHOT_BLOCK_MAX ? len - at : SNAPSHOT_BLOCK_MAX;
        uint8_t head[SNAPSHOT_BLOCK_HEADER];
        snapshot_block_encode(head, &frame, t->blocks, (const uint8_t *)data + at, part);
        buf_put(out, head, sizeof head);
        buf_put(out, (const uint8_t *)data + at, part);
        t->blocks++;
        t->bytes += part;
        at += part;
    }
}

void backup_put_trailer(struct buf *out, const struct backup_head *h,
                        const struct snapshot_trailer *t)
{
    const struct snapshot_header frame = frame_of(h);
    uint8_t tail[SNAPSHOT_TRAILER_BYTES];
    snapshot_trailer_encode(tail, &frame, t);
    buf_put(out, tail, sizeof tail);
}

/* ---- Reading ------------------------------------------------------------------------------ */

struct backup_reader {
    struct env *env;
    struct env_file *file;
    char *path;
    struct snapshot_header frame;
    struct snapshot_trailer seen, trailer;
    uint64_t at, end; /* of the next block; of the blocks */
    uint8_t *block;   /* SNAPSHOT_BLOCK_MAX bytes */
    size_t block_len, block_used;
};

void backup_close(struct backup_reader *r)
{
    if (r != NULL) {
        if (r->file != NULL) {
            r->env->ops->file_close(r->file);
        }
        mem_free(r->path);
        mem_free(r->block);
        mem_free(r);
    }
}

static int damaged(const struct backup_reader *r, uint64_t at, const char *what, struct error *e)
{
    error_set(e, ERR_CORRUPT, "%s is no whole backup: at byte %llu %s", r->path,
              (unsigned long long)at, what);
    error_hint(e, "take another copy of the file, or an older backup; nothing was changed");
    return ERR_CORRUPT;
}

static int read_exact(struct backup_reader *r, uint64_t at, void *out, size_t len, struct error *e)
{
    size_t got = 0;
    int rc = r->env->ops->file_read(r->file, at, out, len, &got, e);
    return rc == 0 && got != len ? damaged(r, at + got, "it is cut short", e) : rc;
}

static int read_head(struct backup_reader *r, uint64_t size, struct backup_head *head,
                     struct error *e)
{
    uint8_t bytes[BACKUP_HEADER_BYTES] = { 0 };
    size_t got = 0;
    int rc = r->env->ops->file_read(r->file, 0, bytes, sizeof bytes, &got, e);
    if (rc != 0) {
        return rc;
    }
    if (got < sizeof bytes && got >= 8 && memcmp(bytes, BACKUP_MAGIC, 8) == 0) {
        return damaged(r, got, "it is cut short", e);
    }
    switch (head_decode(bytes, got, head)) {
    case FORMAT_OK: break;
    case FORMAT_VERSION:
        error_set(e, ERR_BADARG, "%s is a backup in a format that this program does not know",
                  r->path);
        error_hint(e, "restore it with the version of usher that wrote it, or a newer one");
        return ERR_BADARG;
    case FORMAT_FOREIGN:
        error_set(e, ERR_BADARG, "%s is not a backup of usher", r->path);
        error_hint(e, "give a file that `usher backup FILE` has written");
        return ERR_BADARG;
    default: return damaged(r, 0, "its header is damaged", e);
    }
    r->frame = frame_of(head);
    uint8_t tail[SNAPSHOT_TRAILER_BYTES];
    if (size < sizeof bytes + sizeof tail) {
        return damaged(r, size, "it is cut short", e);
    }
    r->at = sizeof bytes;
    r->end = size - sizeof tail;
    rc = read_exact(r, r->end, tail, sizeof tail, e);
    if (rc == 0 &&
        (snapshot_trailer_decode(tail, sizeof tail, &r->frame, &r->trailer) != FORMAT_OK ||
         r->trailer.bytes > size || r->trailer.blocks > size ||
         r->trailer.bytes + r->trailer.blocks * SNAPSHOT_BLOCK_HEADER != r->end - r->at)) {
        rc = damaged(r, r->end, "its end is missing or damaged (was it copied whole?)", e);
    }
    return rc;
}

int backup_open(struct env *env, const char *path, struct backup_reader **out,
                struct backup_head *head, struct error *e)
{
    struct backup_reader *r = mem_zalloc(sizeof *r);
    uint64_t size = 0;
    if (r == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    r->env = env;
    r->path = mem_strndup(path, strlen(path));
    r->block = mem_alloc(SNAPSHOT_BLOCK_MAX);
    int rc = r->path == NULL || r->block == NULL
                 ? error_set(e, ERR_NOMEM, "out of memory")
                 : env->ops->file_open(env, path, ENV_READ, &r->file, e);
    if (rc != 0) {
        r->file = NULL;
    }
    rc = rc != 0 ? rc : env->ops->file_size(r->file, &size, e);
    rc = rc != 0 ? rc : read_head(r, size, head, e);
    if (rc != 0) {
        backup_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

static int next_block(struct backup_reader *r, struct error *e)
{
    uint8_t head[SNAPSHOT_BLOCK_HEADER];
    if (r->end - r->at < sizeof head) {
        return damaged(r, r->at, "a block is incomplete", e);
    }
    int rc = read_exact(r, r->at, head, sizeof head, e);
    size_t len = rc == 0 ? snapshot_block_len(head) : 0;
    if (rc == 0 && (len == 0 || len > SNAPSHOT_BLOCK_MAX || len > r->end - r->at - sizeof head)) {
        return damaged(r, r->at, "a block's header is damaged", e);
    }
    rc = rc != 0 ? rc : read_exact(r, r->at + sizeof head, r->block, len, e);
    if (rc == 0 && !snapshot_block_ok(head, &r->frame, r->seen.blocks, r->block, len)) {
        return damaged(r, r->at, "a block is damaged", e);
    }
    if (rc == 0) {
        r->at += sizeof head + len;
        r->seen.blocks++;
        r->seen.bytes += len;
        r->block_len = len;
        r->block_used = 0;
    }
    return rc;
}

int backup_read(struct backup_reader *r, void *out, size_t len, size_t *got, struct error *e)
{
    size_t done = 0;
    *got = 0;
    while (done < len) {
        if (r->block_used == r->block_len) {
            if (r->at == r->end) {
                break;
            }
            int rc = next_block(r, e);
            if (rc != 0) {
                return rc;
            }
        }
        size_t part = r->block_len - r->block_used;
        part = part < len - done ? part : len - done;
        memcpy((uint8_t *)out + done, r->block + r->block_used, part);
        r->block_used += part;
        done += part;
    }
    if (done == 0 && (r->seen.blocks != r->trailer.blocks || r->seen.bytes != r->trailer.bytes)) {
        return damaged(r, r->end, "its end does not fit what stands before it", e);
    }
    *got = done;
    return 0;
}
