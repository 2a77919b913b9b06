/* See rehearse_record.h.
 *
 *   note -> a buffer -> (a second later, or 64 KiB) a job appends it to DIR/refused; a full
 *   file becomes refused.1, the one before is gone: about REFUSALS_FILE_BYTES twice are kept
 *
 *   gather -> flush and read here, and ask every other member; each answers with its files
 *
 * How it fails: a disk that refuses costs records, which is logged once; nothing waits for
 * it. Nothing is synced: refusals are evidence, not state. A member that does not answer in
 * time is counted as missing. A record cut by a crash ends its file (refusal_next).
 *
 * Invariants
 *   C1 one job at a time, in order: a read sees every write asked for before it
 *   C2 one gathering at a time; its callback comes exactly once */
#include "service/rehearse_record.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "service/service_impl.h"

#define LOG_MODULE "service"
#include "base/log.h"

#define FLUSH_MS  1000
#define FLUSH_LEN (64 * 1024)
#define GATHER_MS 2000
#define PATH_LEN  4200

/* Somebody who wants this node's records: the gathering here, or a peer. */
struct wish {
    struct wish *next;
    uint64_t number;                     /* the peer's gathering */
    char address[ADDRESS_BYTES_MAX + 1]; /* "": ours */
};

struct recorder {
    struct service *s;
    struct env *env;
    char *dir;
    struct buf pending;
    struct env_timer *timer;
    bool ticking, due;
    uint64_t dropped;
    bool told;
    /* The job's while busy. */
    struct env_job job;
    bool busy, reading;
    struct buf bytes;
    int status;
    struct error error;
    struct wish *wishes, *served;
    /* The gathering. */
    request_refusals_cb cb;
    void *arg;
    struct buf all;
    uint64_t number;
    unsigned waiting, missing; /* members that may still answer; that cannot */
    struct env_timer *deadline;
};

static void next(struct recorder *r);

static void on_timer(void *arg)
{
    struct recorder *r = arg;
    r->ticking = false;
    r->due = true;
    next(r);
}

static void gather_end(struct recorder *r)
{
    request_refusals_cb cb = r->cb;
    r->cb = NULL;
    r->env->ops->timer_stop(r->deadline);
    cb(r->arg, span_make((const char *)r->all.data, r->all.len), r->missing + r->waiting);
    buf_free(&r->all);
}

static void on_deadline(void *arg)
{
    struct recorder *r = arg;
    if (r->cb != NULL) {
        gather_end(r);
    }
}

struct recorder *recorder_new(struct service *s, struct env *env, const char *dir)
{
    struct recorder *r = dir != NULL ? mem_zalloc(sizeof *r) : NULL;
    if (r != NULL) {
        r->s = s;
        r->env = env;
        r->dir = mem_strndup(dir, strlen(dir));
        r->timer = env->ops->timer_new(env, on_timer, r);
        r->deadline = env->ops->timer_new(env, on_deadline, r);
        if (r->dir == NULL || r->timer == NULL || r->deadline == NULL) {
            recorder_free(r);
            r = NULL;
        }
    }
    return r;
}

static void wishes_free(struct wish *w)
{
    while (w != NULL) {
        struct wish *following = w->next;
        mem_free(w);
        w = following;
    }
}

void recorder_end(struct recorder *r)
{
    if (r != NULL) {
        r->env->ops->timer_stop(r->timer);
        on_deadline(r);
        on_timer(r);
    }
}

void recorder_free(struct recorder *r)
{
    if (r == NULL) {
        return;
    }
    ASSERT(!r->busy);
    if (r->timer != NULL) {
        r->env->ops->timer_free(r->timer);
    }
    if (r->deadline != NULL) {
        r->env->ops->timer_free(r->deadline);
    }
    wishes_free(r->wishes);
    wishes_free(r->served);
    buf_free(&r->pending);
    buf_free(&r->bytes);
    buf_free(&r->all);
    mem_free(r->dir);
    mem_free(r);
}

void recorder_note(struct recorder *r, const struct refusal *one)
{
    if (r == NULL) {
        return;
    }
    if (r->pending.len > REFUSALS_PENDING_BYTES) {
        r->dropped++;
        return;
    }
    refusal_put(&r->pending, one);
    if (r->pending.len >= FLUSH_LEN) {
        r->due = true;
        next(r);
    } else if (!r->ticking) {
        r->ticking = true;
        r->env->ops->timer_start(r->timer, FLUSH_MS);
    }
}

/* ---- On the worker ------------------------------------------------------------------------ */

static int append(struct recorder *r, const char *path)
{
    const struct env_ops *ops = r->env->ops;
    struct env_file *f;
    char old[PATH_LEN + 8];
    uint64_t size = 0;
    (void)snprintf(old, sizeof old, "%s.1", path);
    int rc = ops->file_open(r->env, path, ENV_WRITE | ENV_CREATE, &f, &r->error);
    rc = rc != 0 ? rc : ops->file_size(f, &size, &r->error);
    if (rc == 0 && size > REFUSALS_FILE_BYTES) {
        ops->file_close(f);
        size = 0;
        rc = ops->rename(r->env, path, old, &r->error);
        rc = rc != 0 ? rc : ops->file_open(r->env, path, ENV_WRITE | ENV_CREATE, &f, &r->error);
        if (rc != 0) {
            return rc;
        }
    }
    if (rc == 0) {
        rc = ops->file_write(f, size, r->bytes.data, r->bytes.len, &r->error);
        if (rc != 0) {
            (void)ops->file_truncate(f, size, NULL);
        }
        ops->file_close(f);
    }
    return rc;
}

static void read_one(struct recorder *r, const char *path)
{
    const struct env_ops *ops = r->env->ops;
    struct env_file *f;
    uint64_t size = 0;
    size_t got = 0;
    if (ops->file_open(r->env, path, ENV_READ, &f, &r->error) != 0) {
        return; /* there is none yet */
    }
    if (ops->file_size(f, &size, &r->error) == 0 && size <= 2 * REFUSALS_FILE_BYTES &&
        buf_reserve(&r->bytes, (size_t)size) &&
        ops->file_read(f, 0, r->bytes.data + r->bytes.len, (size_t)size, &got, &r->error) == 0) {
        r->bytes.len += got;
    }
    ops->file_close(f);
}

static void run(struct env_job *job)
{
    struct recorder *r = job->arg;
    char path[PATH_LEN], old[PATH_LEN + 8];
    error_clear(&r->error);
    (void)snprintf(path, sizeof path, "%s/refused", r->dir);
    if (!r->reading) {
        r->status = append(r, path);
        return;
    }
    (void)snprintf(old, sizeof old, "%s.1", path);
    read_one(r, old);
    read_one(r, path);
    r->status = 0;
}

/* ---- On the loop ----------------------------------------------------------------------------- */

static void serve(struct recorder *r, const struct wish *w)
{
    if (w->address[0] == 0) {
        if (r->cb != NULL && w->number == r->number) {
            buf_put(&r->all, r->bytes.data, r->bytes.len);
            r->waiting--;
        }
        return;
    }
    struct buf b = BUF_INIT;
    buf_put_u8(&b, FRAME_REFUSALS);
    buf_put_varint(&b, w->number);
    buf_put_bytes(&b, r->bytes.data, r->bytes.len);
    if (r->s->cluster != NULL) { /* NULL: the node is stopping */
        (void)cluster_send(r->s->cluster, w->address, &b);
    }
    buf_free(&b);
}

static void done(struct env_job *job)
{
    struct recorder *r = job->arg;
    r->busy = false;
    if (r->status != 0 && !r->told) {
        r->told = true;
        log_warn("refused requests cannot be kept for rehearsals: %s", r->error.message);
    }
    for (const struct wish *w = r->reading ? r->served : NULL; w != NULL; w = w->next) {
        serve(r, w);
    }
    if (r->reading) {
        wishes_free(r->served);
        r->served = NULL;
    }
    buf_clear(&r->bytes);
    if (r->cb != NULL && r->waiting == 0) {
        gather_end(r);
    }
    next(r);
}

static void next(struct recorder *r)
{
    bool write = r->pending.len > 0 && (r->due || r->wishes != NULL);
    if (r->busy || (!write && r->wishes == NULL)) {
        return;
    }
    buf_clear(&r->bytes);
    r->reading = !write;
    if (write) {
        struct buf empty = r->bytes;
        r->bytes = r->pending;
        r->pending = empty;
        r->due = false;
    } else {
        r->served = r->wishes;
        r->wishes = NULL;
    }
    r->busy = true;
    r->job = (struct env_job){ .run = run, .done = done, .arg = r };
    r->env->ops->job(r->env, &r->job);
}

static void wish(struct recorder *r, const char *address, uint64_t number)
{
    struct wish *w = mem_zalloc(sizeof *w);
    if (w != NULL) {
        w->number = number;
        (void)snprintf(w->address, sizeof w->address, "%s", address);
        w->next = r->wishes;
        r->wishes = w;
        next(r);
    }
}

void recorder_gather(struct recorder *r, request_refusals_cb cb, void *arg)
{
    if (r == NULL || r->cb != NULL) {
        cb(arg, span_make("", 0), 1);
        return;
    }
    r->cb = cb;
    r->arg = arg;
    r->number++;
    r->waiting = 1;
    r->missing = 0;
    buf_clear(&r->all);
    struct cluster_status status;
    cluster_status(r->s->cluster, &status);
    for (size_t i = 0; i < status.members_count; i++) {
        if (!status.members[i].self) {
            struct buf b = BUF_INIT;
            buf_put_u8(&b, FRAME_REFUSALS_ASK);
            buf_put_varint(&b, r->number);
            if (cluster_send(r->s->cluster, status.members[i].address, &b)) {
                r->waiting++;
            } else {
                r->missing++;
            }
            buf_free(&b);
        }
    }
    r->env->ops->timer_start(r->deadline, GATHER_MS);
    wish(r, "", r->number);
}

void recorder_frame(struct recorder *r, const struct transport_peer *peer, const uint8_t *data,
                    size_t len)
{
    struct reader in;
    if (r == NULL) {
        return;
    }
    reader_init(&in, data + 1, len - 1);
    uint64_t number = reader_varint(&in);
    if (in.failed) {
        return;
    }
    if (data[0] == FRAME_REFUSALS_ASK) {
        wish(r, peer->address, number);
    } else if (r->cb != NULL && number == r->number && r->waiting > 0) {
        struct span bytes = reader_bytes(&in);
        if (!in.failed) {
            buf_put(&r->all, bytes.data, bytes.len);
            r->waiting--;
            if (r->waiting == 0) {
                gather_end(r);
            }
        }
    }
}
