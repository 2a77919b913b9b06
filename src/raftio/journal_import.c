/* A snapshot from elsewhere becomes this directory's (see journal_import.h).
 *
 *   part file -> header and meta, blocks, trailer -> sync -> rename -> sync of the directory
 *
 * How it fails: with the error of the first step that failed; the part file is removed. */
#include "raftio/journal_import.h"

#include <string.h>

#include "base/mem.h"
#include "raftio/journal_impl.h"

struct import {
    struct env *env;
    struct env_file *file;
    uint64_t at;
    struct snapshot_header header;
    struct snapshot_trailer written;
    struct buf out;
};

static int flush(struct import *m, struct error *e)
{
    int rc = m->out.failed ? error_set(e, ERR_NOMEM, "out of memory")
                           : m->env->ops->file_write(m->file, m->at, m->out.data, m->out.len, e);
    m->at += m->out.len;
    buf_clear(&m->out);
    return rc;
}

static int put_blocks(struct import *m, const uint8_t *data, size_t len, struct error *e)
{
    int rc = 0;
    for (size_t at = 0; at < len && rc == 0;) {
        size_t part = len - at < SNAPSHOT_BLOCK_MAX ? len - at : SNAPSHOT_BLOCK_MAX;
        uint8_t block[SNAPSHOT_BLOCK_HEADER];
        snapshot_block_encode(block, &m->header, m->written.blocks, data + at, part);
        buf_put(&m->out, block, sizeof block);
        buf_put(&m->out, data + at, part);
        rc = flush(m, e);
        m->written.blocks++;
        m->written.bytes += part;
        at += part;
    }
    return rc;
}

static int write_all(struct import *m, struct span meta, journal_import_next next, void *arg,
                     struct error *e)
{
    const uint8_t *data = NULL;
    size_t len = 1;
    snapshot_header_encode(&m->out, &m->header, meta.data);
    int rc = flush(m, e);
    while (rc == 0 && len > 0) {
        rc = next(arg, &data, &len, e);
        rc = rc != 0 ? rc : put_blocks(m, data, len, e);
    }
    if (rc == 0) {
        uint8_t trailer[SNAPSHOT_TRAILER_BYTES];
        snapshot_trailer_encode(trailer, &m->header, &m->written);
        buf_put(&m->out, trailer, sizeof trailer);
        rc = flush(m, e);
    }
    return rc != 0 ? rc : m->env->ops->file_sync(m->file, e);
}

int journal_import_snapshot(struct journal *j, uint64_t index, uint64_t term, struct span meta,
                            journal_import_next next, void *arg, struct error *e)
{
    const struct env_ops *ops = j->env->ops;
    struct import m = {
        .env = j->env, .header = { .index = index, .term = term, .meta_len = (uint32_t)meta.len }
    };
    char *path = snapshot_path(j->dir, index, term), *part = journal_path(j->dir, "import.part");
    int rc = path == NULL || part == NULL ? error_set(e, ERR_NOMEM, "out of memory") : 0;
    rc = rc != 0 ? rc
                 : ops->file_open(j->env, part, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &m.file, e);
    if (rc == 0) {
        rc = write_all(&m, meta, next, arg, e);
        ops->file_close(m.file);
        rc = rc != 0 ? rc : ops->rename(j->env, part, path, e);
        rc = rc != 0 ? rc : ops->sync_dir(j->env, j->dir, e);
        if (rc != 0) {
            (void)ops->remove(j->env, part, NULL);
        }
    }
    buf_free(&m.out);
    mem_free(path);
    mem_free(part);
    return rc;
}
