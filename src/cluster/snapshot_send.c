/* Sending a snapshot to a follower that is too far behind.
 *
 * The core asks for it with an InstallSnapshot message; what travels is ours, on
 * CHANNEL_CLUSTER:
 *
 *   BEGIN(metadata) -> CHUNK, CHUNK, ... up to WINDOW unacknowledged -> ACK ... -> DONE
 *
 * The file is opened and read in worker jobs. The follower gives the install to its core
 * only when all is there and verified, so a transfer that dies half-way has changed nothing.
 * A second request for the same follower while one runs is dropped (engine.md trap 3).
 *
 * How it fails: no acknowledgement for STALL_MS, link down, leadership lost, the file cannot
 * be read (then another is written first: SN4), or the follower refuses: the transfer is forgotten;
 * the follower's next rejected heartbeat then reaches the core as a rejection of this snapshot
 * (R7), and it starts over. The core asks with every heartbeat: what a full disk refuses, there or
 * here, would be read and sent without end, so the next try waits (SS3).
 *
 * Invariants
 *   SS1 at most one transfer per peer, one job of it at a time
 *   SS2 p->send is set exactly while a transfer runs: receive.c rewrites rejections (R2)
 *   SS3 after a refusal, or a read that failed in passing, no transfer to that peer begins for an
 *       election timeout, twice as long each time, until one succeeds or its link is a new one */
#define LOG_MODULE "snapshot"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"

#define WINDOW       4
#define STALL_MS     15000
#define PAUSE_MS_MAX 10000
#define SEND_LOG_MS  60000

struct snap_send {
    struct cluster *c;
    struct peer *peer; /* NULL once aborted while the job is out */
    struct env_job job;
    bool busy; /* the job is out */
    bool opened, end;
    struct journal_snapshot_reader *reader;
    struct buf meta, chunk; /* chunk: a whole frame, made in the job */
    uint64_t transfer, raft_term, index, term, bytes;
    uint64_t offset, acked; /* bytes handed to the link, acknowledged */
    uint64_t heard_ms;
    int status;
    struct error error;
};

static void send_free(struct snap_send *s)
{
    if (s->reader != NULL) {
        journal_snapshot_close(s->reader);
    }
    buf_free(&s->meta);
    buf_free(&s->chunk);
    mem_free(s);
}

void snapshot_send_abort(struct cluster *c, struct peer *p, const char *why)
{
    struct snap_send *s = p->send;
    (void)c;
    p->send = NULL;
    if (why != NULL) {
        log_info("the snapshot for %s was given up: %s", p->address, why);
    }
    s->peer = NULL;
    if (!s->busy) {
        send_free(s);
    }
}

static void send_later(struct cluster *c, struct peer *p)
{
    uint64_t pause = p->send_pause_ms == 0 ? c->election_ms : p->send_pause_ms * 2;
    p->send_pause_ms = pause < PAUSE_MS_MAX ? pause : PAUSE_MS_MAX;
    p->send_again_ms = now_ms(c) + p->send_pause_ms;
}

void snapshot_send_at_once(struct peer *p) { p->send_again_ms = p->send_pause_ms = 0; }

bool snapshot_send_active(const struct cluster *c)
{
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        if (p->send != NULL) {
            return true;
        }
    }
    return false;
}

void snapshot_send_progress(const struct peer *p, uint64_t *sent, uint64_t *total)
{
    *sent = p->send != NULL ? p->send->acked : 0;
    *total = p->send != NULL ? p->send->bytes : 0;
}

/* ---- The job ------------------------------------------------------------------------ */

static void read_chunk(struct snap_send *s)
{
    buf_clear(&s->chunk);
    buf_put_u8(&s->chunk, WIRE_SNAP_CHUNK);
    buf_put_u64(&s->chunk, s->transfer);
    buf_put_u64(&s->chunk, s->offset);
    size_t last_at = s->chunk.len, got = 0;
    buf_put_u8(&s->chunk, 0);
    if (!buf_reserve(&s->chunk, SNAPSHOT_CHUNK_BYTES)) {
        s->status = error_set(&s->error, ERR_NOMEM, "out of memory");
        return;
    }
    s->status = journal_snapshot_read(s->reader, s->chunk.data + s->chunk.len, SNAPSHOT_CHUNK_BYTES,
                                      &got, &s->error);
    s->chunk.len += got;
    s->end = got == 0;
    s->chunk.data[last_at] = s->end ? 1 : 0;
}

static void run_job(struct env_job *job)
{
    struct snap_send *s = job->arg;
    s->status = 0;
    if (!s->opened) {
        s->status = journal_snapshot_open(s->c->journal, s->index, s->term, &s->reader, &s->meta,
                                          &s->bytes, &s->error);
        return;
    }
    read_chunk(s);
}

static void next_job(struct snap_send *s);

static void send_begin(struct snap_send *s)
{
    struct buf b = BUF_INIT;
    struct wire_snapshot w = { .transfer = s->transfer,
                               .raft_term = s->raft_term,
                               .index = s->index,
                               .term = s->term,
                               .bytes = s->bytes,
                               .meta = span_make((char *)s->meta.data, s->meta.len) };
    s->opened = true;
    wire_put_snapshot(&b, &w);
    peer_send(s->c, s->peer, &b);
    log_info("sending the snapshot of entry %llu, %llu bytes, to %s", (unsigned long long)s->index,
             (unsigned long long)s->bytes, s->peer->address);
}

static void not_read(struct snap_send *s)
{
    struct cluster *c = s->c;
    if (!snapshot_unreadable(c, s->index, s->status, &s->error)) {
        if (log_allowed(&c->send_log, now_ms(c), SEND_LOG_MS)) {
            log_error("the snapshot of entry %llu cannot be read now: %s",
                      (unsigned long long)s->index, s->error.message);
        }
        send_later(c, s->peer);
    }
    snapshot_send_abort(c, s->peer, NULL);
}

static void done_job(struct env_job *job)
{
    struct snap_send *s = job->arg;
    struct cluster *c = s->c;
    s->busy = false;
    s->heard_ms = now_ms(c); /* the follower's time begins now */
    c->jobs--;
    if (s->peer == NULL) {
        send_free(s);
    } else if (s->status != 0) {
        not_read(s);
    } else if (!s->opened) {
        send_begin(s);
        next_job(s);
    } else {
        size_t header = 1 + 8 + 8 + 1;
        s->offset += s->chunk.len - header;
        peer_send(c, s->peer, &s->chunk);
        buf_init(&s->chunk);
        next_job(s);
    }
    cluster_pump(c);
    cluster_finish_stop(c);
}

static void next_job(struct snap_send *s)
{
    if (s->busy || s->end || s->offset - s->acked >= (uint64_t)WINDOW * SNAPSHOT_CHUNK_BYTES) {
        return;
    }
    s->busy = true;
    s->c->jobs++;
    s->job.run = run_job;
    s->job.done = done_job;
    s->job.arg = s;
    s->c->env->ops->job(s->c->env, &s->job);
}

/* ---- From the core and from the follower ---------------------------------------------- */

void snapshot_send_start(struct cluster *c, const struct raft_message *m)
{
    struct peer *p = peer_get(c, m->server_address);
    c->installs_asked++;
    if (p != NULL) {
        p->install_index = m->install_snapshot.last_index;
    }
    if (p == NULL || p->send != NULL || !p->up || c->dead || snapshot_is_bad(c) ||
        now_ms(c) < p->send_again_ms) {
        return;
    }
    struct snap_send *s = mem_zalloc(sizeof *s);
    if (s == NULL) {
        return;
    }
    s->c = c;
    s->peer = p;
    s->transfer = ++c->transfers;
    s->raft_term = m->install_snapshot.term;
    s->index = m->install_snapshot.last_index;
    s->term = m->install_snapshot.last_term;
    s->heard_ms = now_ms(c);
    p->send = s;
    next_job(s);
}

void snapshot_send_ack(struct cluster *c, struct peer *p, uint64_t transfer, uint64_t offset,
                       uint64_t state)
{
    struct snap_send *s = p->send;
    if (s == NULL || s->transfer != transfer || offset > s->offset) {
        return;
    }
    s->heard_ms = now_ms(c);
    if (state == SNAP_OK) {
        s->acked = offset > s->acked ? offset : s->acked;
        next_job(s);
    } else if (state == SNAP_DONE) {
        snapshot_send_at_once(p);
        snapshot_send_abort(c, p, NULL);
    } else {
        bool say = log_allowed(&p->refused_log, now_ms(c), SEND_LOG_MS);
        snapshot_send_abort(c, p, say ? "the follower refused it" : NULL);
        send_later(c, p);
    }
}

void snapshot_send_tick(struct cluster *c)
{
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        /* While our own disk is at work it is not the follower who is late. */
        bool owed = p->send != NULL && !p->send->busy;
        if (p->send != NULL && (!p->up || (owed && now_ms(c) - p->send->heard_ms > STALL_MS))) {
            snapshot_send_abort(c, p, p->up ? "no answer" : "the link is down");
        }
    }
}
