/* The one table of functions through which the cluster and its disk and network
 * code reach the outside: clock, randomness, timers, worker jobs, files, streams.
 *
 * raftio/env_uv.c is the real one (libuv); tests/sim supplies simulated ones and
 * runs whole clusters in one thread from a seed. Nothing in src/raftio,
 * src/cluster or src/service may call time(), open(), uv_*, rand() or the like
 * directly.
 *
 * Threads: everything runs on the loop thread except `env_job.run` and the file
 * functions called from it, which run on a worker. File functions may also be
 * called on the loop thread at start-up, before serving. */
#ifndef USHER_BASE_ENV_H
#define USHER_BASE_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct env;
struct env_timer;  /* made by timer_new */
struct env_file;   /* made by file_open */
struct env_stream; /* a connected byte stream */

/* Bytes to be put into a file so that they survive a power loss: what file_write and
 * file_sync do. With file opened with ENV_DIRECT, and at, len and data's address multiples
 * of ENV_BLOCK_BYTES, an implementation may do it without a worker. The caller keeps data. */
struct env_write {
    struct env_file *file;
    uint64_t at;
    const void *data;
    size_t len;
    int status; /* result: 0 or as file_write and file_sync have it */
    struct error error;
};

#define ENV_BLOCK_BYTES ((size_t)4096)

/* A blocking job done off the loop. The caller owns it and fills run, done and
 * arg; it must stay alive until done. */
struct env_job {
    void (*run)(struct env_job *job);  /* on a worker: may block, no loop calls */
    void (*done)(struct env_job *job); /* on the loop, exactly once */
    void *arg;
    bool urgent; /* others wait for it: it may have a thread of its own */
    /* Long, and no request waits for it: it yields to all else. Its run calls rest() often. */
    bool background;
    /* NULL, or all that run does is this: file_write, file_sync, and their outcome in
     * write->status and write->error. Either run is called or the same is done otherwise. */
    struct env_write *write;
    struct env_job *next; /* the implementation's own, as the rest */
    void *naps;
    void *impl[17];
};

/* Something to run once at the end of this turn of the loop, after all that arrived in
 * it has been delivered: that is how a turn's requests become one batch and its answers
 * one write. The caller owns it, zeroes it, fills cb and arg; the rest is ours. */
struct env_defer {
    void (*cb)(void *arg);
    void *arg;
    struct env_defer *next;
    bool pending;
};

enum env_open {
    ENV_READ = 1,
    ENV_WRITE = 2,
    ENV_CREATE = 4,    /* make it when absent */
    ENV_EXCLUSIVE = 8, /* with ENV_CREATE: fail when present */
    ENV_TRUNCATE = 16,
    ENV_DIRECT = 32, /* for env_write: what has been synced leaves the page cache */
};

/* Stream events, all on the loop. `closed` comes exactly once and last; after it
 * the stream is gone. `status` is 0 at end of stream or after stream_close(), else
 * an ERR_ code. */
struct env_stream_events {
    void (*data)(void *arg, const uint8_t *bytes, size_t len);
    void (*drained)(void *arg); /* stream_queued() fell to 0; may be NULL */
    void (*closed)(void *arg, int status);
};

typedef void (*env_connect_cb)(void *arg, int status, struct env_stream *stream);
typedef void (*env_names_cb)(void *arg, const char *name);

struct env_ops {
    /* Clock. mono never goes back; wall may jump. */
    uint64_t (*mono_ms)(struct env *env);
    uint64_t (*mono_ns)(struct env *env);
    uint64_t (*wall_ms)(struct env *env);
    void (*random)(struct env *env, void *out, size_t len); /* unguessable */

    /* One-shot timers; starting a running one moves it. The callback never runs
     * inside timer_start. Resolution 1 ms. free also stops. */
    struct env_timer *(*timer_new)(struct env *env, void (*cb)(void *arg), void *arg);
    void (*timer_start)(struct env_timer *t, uint64_t after_ms);
    void (*timer_stop)(struct env_timer *t);
    void (*timer_free)(struct env_timer *t);

    /* Runs d->cb at the end of this turn, in the order of the calls; what a callback
     * defers runs in the same turn, after it. Nothing happens when d is pending. Works
     * from every callback (I/O, timer, job, deferred) and before the loop runs.
     * undefer takes it back (no-op when not pending). */
    void (*defer)(struct env *env, struct env_defer *d);
    void (*undefer)(struct env *env, struct env_defer *d);

    /* Jobs run concurrently and finish in any order. */
    void (*job)(struct env *env, struct env_job *job);
    /* From inside run() of a background job, each few dozen microseconds of its work: sleeps when
     * it is time to. */
    void (*rest)(struct env *env, struct env_job *job);

    /* Files: blocking. All return 0 or ERR_IO, ERR_NOSPACE, ERR_NOTFOUND,
     * ERR_CONFLICT (exists, or locked by another), ERR_NOPERM, with the path in e->message. What
     * opens a file or a directory may say ERR_BUSY: no file descriptor is left now. */
    int (*file_open)(struct env *env, const char *path, int flags, struct env_file **out,
                     struct error *e);
    void (*file_close)(struct env_file *f);
    int (*file_read)(struct env_file *f, uint64_t at, void *out, size_t len, size_t *got,
                     struct error *e); /* short only at end of file */
    int (*file_write)(struct env_file *f, uint64_t at, const void *data, size_t len,
                      struct error *e);
    int (*file_sync)(struct env_file *f, struct error *e); /* data and needed metadata */
    int (*file_size)(struct env_file *f, uint64_t *bytes, struct error *e);
    int (*file_truncate)(struct env_file *f, uint64_t bytes, struct error *e);
    /* Reserves and zero-writes [0, bytes) so that later syncs need no metadata. */
    int (*file_allocate)(struct env_file *f, uint64_t bytes, struct error *e);
    /* Exclusive lock for this process's lifetime; ERR_CONFLICT when held. */
    int (*file_lock)(struct env_file *f, struct error *e);
    int (*rename)(struct env *env, const char *from, const char *to, struct error *e);
    int (*remove)(struct env *env, const char *path,
                  struct error *e); /* a file or an empty directory */
    int (*make_dir)(struct env *env, const char *path,
                    struct error *e); /* and parents; 0 if there */
    int (*sync_dir)(struct env *env, const char *path, struct error *e);
    int (*list_dir)(struct env *env, const char *path, env_names_cb cb, void *arg, struct error *e);
    int (*free_bytes)(struct env *env, const char *path, uint64_t *bytes, struct error *e);

    /* Streams. address: "host:port" or "[v6]:port"; look-up and connect happen off
     * the loop; cb exactly once, never from inside connect. */
    void (*connect)(struct env *env, const char *address, env_connect_cb cb, void *arg);
    /* Must be called once on every new stream before data flows. */
    void (*stream_start)(struct env_stream *s, const struct env_stream_events *events, void *arg);
    /* Takes ownership of b's memory and empties b; queued and sent in order. */
    void (*stream_write)(struct env_stream *s, struct buf *b);
    size_t (*stream_queued)(struct env_stream *s); /* bytes not yet sent */
    void (*stream_close)(struct env_stream *s);    /* later: closed(arg, 0) */
};

struct env {
    const struct env_ops *ops;
};

#endif
