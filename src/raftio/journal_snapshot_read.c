/* Snapshot files: names, and reading them, in bounded memory.
 *
 * Each block is verified before any of it is handed out; a missing, repeated or
 * moved block cannot pass (its checksum is seeded with its number), nor can a shortened file
 * (the trailer states the length and is checked when the file is opened). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "raftio/journal_impl.h"

bool snapshot_parse_name(const char *name, uint64_t *index, uint64_t *term)
{
    int end = 0;
    return sscanf(name, "snapshot-%16" SCNx64 "-%16" SCNx64 "%n", index, term, &end) == 2 &&
           end == 9 + 16 + 1 + 16 && name[end] == 0;
}

char *snapshot_path(const char *dir, uint64_t index, uint64_t term)
{
    char name[JOURNAL_NAME_BYTES];
    (void)snprintf(name, sizeof name, "snapshot-%016" PRIx64 "-%016" PRIx64, index, term);
    return journal_path(dir, name);
}

struct journal_snapshot_reader {
    struct env *env;
    struct env_file *file;
    char *path;
    struct snapshot_header header;
    struct snapshot_trailer trailer;
    uint64_t at;           /* of the next block */
    uint64_t blocks, left; /* read; payload bytes not yet read from the file */
    uint8_t *block;        /* SNAPSHOT_BLOCK_MAX bytes */
    size_t block_len, block_used;
};

void journal_snapshot_close(struct journal_snapshot_reader *r)
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

/* Reads exactly len bytes; a shorter file is damage. */
static int read_exact(struct journal_snapshot_reader *r, uint64_t at, void *out, size_t len,
                      struct error *e)
{
    size_t got = 0;
    int rc = r->env->ops->file_read(r->file, at, out, len, &got, e);
    if (rc == 0 && got != len) {
        rc = journal_corrupt(e, r->path, at + got, "the snapshot is cut short");
    }
    return rc;
}

static int read_frame(struct journal_snapshot_reader *r, uint64_t index, uint64_t term,
                      struct buf *meta, struct error *e)
{
    uint8_t head[SNAPSHOT_HEADER_BYTES], tail[SNAPSHOT_TRAILER_BYTES];
    uint64_t size = 0;
    int rc = r->env->ops->file_size(r->file, &size, e);
    rc = rc != 0 ? rc : read_exact(r, 0, head, sizeof head, e);
    if (rc != 0) {
        return rc;
    }
    enum format_status status = snapshot_header_decode(head, sizeof head, &r->header);
    if (status != FORMAT_OK || r->header.index != index || r->header.term != term) {
        return journal_corrupt(e, r->path, 0,
                               status == FORMAT_VERSION
                                   ? "the snapshot's format version is not known here"
                                   : "the snapshot's header is damaged");
    }
    uint64_t frame = sizeof head + r->header.meta_len + sizeof tail;
    if (size < frame) {
        return journal_corrupt(e, r->path, size, "the snapshot is cut short");
    }
    buf_clear(meta);
    if (!buf_reserve(meta, r->header.meta_len)) {
        return error_set(e, ERR_NOMEM, "no memory to read %s", r->path);
    }
    rc =
        r->header.meta_len == 0 ? 0 : read_exact(r, sizeof head, meta->data, r->header.meta_len, e);
    rc = rc != 0 ? rc : read_exact(r, size - sizeof tail, tail, sizeof tail, e);
    if (rc != 0) {
        return rc;
    }
    meta->len = r->header.meta_len;
    if (!snapshot_meta_ok(head, meta->data, meta->len)) {
        return journal_corrupt(e, r->path, sizeof head, "the snapshot's configuration is damaged");
    }
    uint64_t body = size - frame;
    if (snapshot_trailer_decode(tail, sizeof tail, &r->header, &r->trailer) != FORMAT_OK ||
        r->trailer.bytes > body ||
        r->trailer.blocks != (body - r->trailer.bytes) / SNAPSHOT_BLOCK_HEADER ||
        (body - r->trailer.bytes) % SNAPSHOT_BLOCK_HEADER != 0) {
        return journal_corrupt(e, r->path, size - sizeof tail, "the snapshot's end is damaged");
    }
    r->left = r->trailer.bytes;
    r->at = sizeof head + r->header.meta_len;
    return 0;
}

static int reader_open(struct env *env, const char *dir, uint64_t index, uint64_t term,
                       struct journal_snapshot_reader **out, struct buf *meta, struct error *e)
{
    struct journal_snapshot_reader *r = mem_zalloc(sizeof *r);
    if (r == NULL) {
        return error_set(e, ERR_NOMEM, "no memory to read a snapshot");
    }
    r->env = env;
    r->path = snapshot_path(dir, index, term);
    r->block = mem_alloc(SNAPSHOT_BLOCK_MAX);
    int rc = r->path == NULL || r->block == NULL
                 ? error_set(e, ERR_NOMEM, "no memory to read a snapshot")
                 : env->ops->file_open(env, r->path, ENV_READ, &r->file, e);
    if (rc != 0) {
        r->file = NULL;
    } else {
        rc = read_frame(r, index, term, meta, e);
    }
    if (rc != 0) {
        journal_snapshot_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

int snapshot_open(struct env *env, const char *dir, uint64_t index, uint64_t term,
                  struct journal_snapshot_reader **out, struct buf *meta, uint64_t *bytes,
                  struct error *e)
{
    int rc = reader_open(env, dir, index, term, out, meta, e);
    if (rc == 0 && *out != NULL) {
        *bytes = (*out)->trailer.bytes;
    }
    return rc;
}

int journal_snapshot_open(struct journal *j, uint64_t index, uint64_t term,
                          struct journal_snapshot_reader **out, struct buf *meta, uint64_t *bytes,
                          struct error *e)
{
    return snapshot_open(j->env, j->dir, index, term, out, meta, bytes, e);
}

int snapshot_check(struct env *env, const char *dir, uint64_t index, uint64_t term, struct error *e)
{
    struct journal_snapshot_reader *r = NULL;
    struct buf meta = BUF_INIT;
    uint64_t bytes;
    int rc = snapshot_open(env, dir, index, term, &r, &meta, &bytes, e);
    if (rc == 0) {
        journal_snapshot_close(r);
    }
    buf_free(&meta);
    return rc;
}

static int next_block(struct journal_snapshot_reader *r, struct error *e)
{
    uint8_t head[SNAPSHOT_BLOCK_HEADER];
    int rc = read_exact(r, r->at, head, sizeof head, e);
    if (rc != 0) {
        return rc;
    }
    size_t len = snapshot_block_len(head);
    if (len == 0 || len > r->left) {
        return journal_corrupt(e, r->path, r->at, "a block's header is damaged");
    }
    rc = read_exact(r, r->at + sizeof head, r->block, len, e);
    if (rc != 0) {
        return rc;
    }
    if (!snapshot_block_ok(head, &r->header, r->blocks, r->block, len)) {
        return journal_corrupt(e, r->path, r->at, "a block of the snapshot is damaged");
    }
    r->at += sizeof head + len;
    r->left -= len;
    r->blocks++;
    r->block_len = len;
    r->block_used = 0;
    return 0;
}

int journal_snapshot_read(struct journal_snapshot_reader *r, void *out, size_t len, size_t *got,
                          struct error *e)
{
    size_t done = 0;
    while (done < len) {
        if (r->block_used == r->block_len) {
            if (r->left == 0) {
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
    *got = done;
    return 0;
}
