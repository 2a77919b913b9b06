/* See replay.h. */
#include "cluster/replay.h"

#include <raft.h>

#include "base/limits.h"
#include "base/mem.h"
#include "cluster/internal.h"

void cluster_replay_begin(const struct cluster *c, struct cluster_replay *out)
{
    *out = (struct cluster_replay){ .snapshot_index = c->log.snapshot_index,
                                    .snapshot_term = c->log.snapshot_term,
                                    .commit = c->applied };
}

int cluster_replay_copy(const struct cluster *c, const struct cluster_replay *r, uint64_t *at,
                        size_t bytes, struct buf *out)
{
    size_t end = out->len + bytes;
    while (*at < r->commit && out->len < end) {
        const struct log_entry *e = log_cache_get(&c->log, *at + 1);
        if (e == NULL) {
            return ERR_NOTFOUND;
        }
        ++*at;
        if (e->type == RAFT_COMMAND) {
            buf_put_varint(out, *at);
            buf_put_bytes(out, e->data, e->len);
        }
        if (out->failed) {
            return ERR_NOMEM;
        }
    }
    return 0;
}

/* ---- The snapshot's state --------------------------------------------------------------- */

struct state_job {
    struct env_job job;
    struct cluster *c;
    struct cluster_replay from;
    cluster_replay_cb cb;
    void *arg;
    struct store *store;
    int status;
    struct error error;
};

/* So much is loaded in some dozen microseconds. */
#define PIECE_BYTES (16 * 1024)

static int load(struct state_job *s, struct store_loader *loader, uint8_t *piece)
{
    struct journal_snapshot_reader *r = NULL;
    struct buf meta = BUF_INIT;
    uint64_t total;
    size_t got = 1;
    int rc = journal_snapshot_open(s->c->journal, s->from.snapshot_index, s->from.snapshot_term, &r,
                                   &meta, &total, &s->error);
    while (rc == 0 && got > 0) {
        s->c->env->ops->rest(s->c->env, &s->job);
        rc = journal_snapshot_read(r, piece, PIECE_BYTES, &got, &s->error);
        rc = rc != 0 || got == 0 ? rc : store_load_feed(loader, piece, got, &s->error);
    }
    if (r != NULL) {
        journal_snapshot_close(r);
    }
    buf_free(&meta);
    return rc;
}

static void run(struct env_job *job)
{
    struct state_job *s = job->arg;
    if (s->from.snapshot_index == 0) {
        s->store = store_new();
        s->status = s->store != NULL ? 0 : error_set(&s->error, ERR_NOMEM, "out of memory");
        return;
    }
    struct store_loader *loader = store_load_begin();
    uint8_t *piece = mem_alloc(PIECE_BYTES);
    s->status = loader == NULL || piece == NULL ? error_set(&s->error, ERR_NOMEM, "out of memory")
                                                : load(s, loader, piece);
    if (s->status == 0) {
        s->status = store_load_end(loader, &s->store, &s->error);
    } else if (loader != NULL) {
        store_load_abort(loader);
    }
    mem_free(piece);
}

static void done(struct env_job *job)
{
    struct state_job *s = job->arg;
    s->c->jobs--;
    s->cb(s->arg, s->status, s->store, &s->error);
    mem_free(s);
}

void cluster_replay_state(struct cluster *c, const struct cluster_replay *r, cluster_replay_cb cb,
                          void *arg)
{
    struct state_job *s = mem_must_alloc(sizeof *s);
    *s = (struct state_job){ .c = c, .from = *r, .cb = cb, .arg = arg };
    s->job.run = run;
    s->job.done = done;
    s->job.arg = s;
    s->job.background = true;
    c->jobs++;
    c->env->ops->job(c->env, &s->job);
}
