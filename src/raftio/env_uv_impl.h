/* Shared by the files of the libuv env; nobody else includes it. */
#ifndef USHER_RAFTIO_ENV_UV_IMPL_H
#define USHER_RAFTIO_ENV_UV_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "raftio/env_uv.h"

/* libuv suggests 64 KiB per read; entries come in batches of up to 256 KiB, and one
 * buffer serves all streams of the env, so the larger size is free. */
#define READ_BYTES ((size_t)256 * 1024)

struct env_uv {
    struct env env; /* first: an env_uv is its env */
    uv_loop_t *loop;
    uv_prepare_t prepare; /* end of a turn: before the loop sleeps ... */
    uv_check_t check;     /* ... and after it has delivered what woke it */
    int handles;          /* still open: these, `async`, `writes_poll` */
    struct env_defer *defer_head, **defer_tail;
    struct env_stream *dirty; /* streams with bytes to flush at the end of the turn */
    char *read_buffer;        /* READ_BYTES; filled and consumed within one callback */
    /* env_uv_job.c */
    struct env_job *jobs_head, **jobs_tail; /* to be started at the end of the turn */
    size_t jobs_out;                        /* asked for and not done */
    void (*idle)(void *arg);                /* NULL: nobody waits for jobs_out to become 0 */
    void *idle_arg;
    enum { THREAD_NONE, THREAD_RUNS, THREAD_FAILED } thread_state;
    pthread_t thread;
    int wake_fd;
    bool thread_busy;
    _Atomic(struct env_job *) todo, done;
    atomic_bool thread_stop;
    uv_async_t async;
    /* env_uv_write.c */
    enum { WRITES_NONE, WRITES_READY, WRITES_FAILED } writes_state;
    struct io_context *writes;
    int writes_fd; /* an eventfd: some have ended */
    size_t writes_out;
    uint64_t writes_pause_ns; /* workers write until then */
    uv_poll_t writes_poll;
};

/* A file; direct_* are env_uv_write.c's. */
struct env_file {
    int fd;
    int direct_fd;             /* O_DIRECT; -1: none */
    atomic_bool direct_cannot; /* it was refused: a worker writes */
    unsigned direct_later;     /* refused so many times in a row, perhaps only now (EAGAIN) */
    char path[];
};

/* env_uv_job.c */
int env_uv_jobs_open(struct env_uv *u); /* 0 or libuv's error */
void env_uv_jobs_close(struct env_uv *u);
void env_uv_job(struct env *env, struct env_job *job);
void env_uv_jobs_start(struct env_uv *u);
void env_uv_job_finish(struct env_uv *u, struct env_job *job); /* calls done() */
void env_uv_job_by_worker(struct env_uv *u, struct env_job *job);
void env_uv_handle_closed(uv_handle_t *h); /* of all handles in env_uv.handles */
void env_uv_jobs_idle(struct env_uv *u);   /* at the end of a turn: tells who waits for none */

/* env_uv_background.c */
/* What a background job's thread knows: env_job.naps. */
struct env_uv_background {
    uint64_t awake_ns; /* since when it has not slept; monotonic, as seen_ns */
    uint64_t seen_ns, others_ns;
    uint64_t busy_mil; /* thousandths of a core that the process uses otherwise, averaged */
};
void env_uv_background_run(struct env_job *job);     /* runs it; a worker waits here for that */
uint64_t env_uv_background_burst(uint64_t busy_mil); /* ns */
uint64_t env_uv_background_nap(uint64_t busy_mil);
void env_uv_rest(struct env *env, struct env_job *job);

/* env_uv_write.c */
/* Starts job->write; false: it cannot be done so, and a worker must run the job. */
bool env_uv_write_start(struct env_uv *u, struct env_job *job);
void env_uv_write_close(struct env_uv *u);

/* env_uv_stream.c */
/* Sends what was written to the streams; may call drained, which may do anything. */
void env_uv_flush(struct env_uv *u);
void env_uv_connect(struct env *env, const char *address, env_connect_cb cb, void *arg);
void env_uv_stream_start(struct env_stream *s, const struct env_stream_events *events, void *arg);
void env_uv_stream_write(struct env_stream *s, struct buf *b);
size_t env_uv_stream_queued(struct env_stream *s);
void env_uv_stream_close(struct env_stream *s);
struct env_stream *env_uv_stream_new(struct env_uv *u); /* NULL: out of memory */

/* env_uv_file.c */
/* Fills e from the system's error number; returns the code. */
int env_uv_sys_error(struct error *e, const char *what, const char *path, int err);
int env_uv_file_open(struct env *env, const char *path, int flags, struct env_file **out,
                     struct error *e);
void env_uv_file_close(struct env_file *f);
int env_uv_file_read(struct env_file *f, uint64_t at, void *out, size_t len, size_t *got,
                     struct error *e);
int env_uv_file_write(struct env_file *f, uint64_t at, const void *data, size_t len,
                      struct error *e);
int env_uv_file_sync(struct env_file *f, struct error *e);
int env_uv_file_size(struct env_file *f, uint64_t *bytes, struct error *e);
int env_uv_file_truncate(struct env_file *f, uint64_t bytes, struct error *e);
int env_uv_file_allocate(struct env_file *f, uint64_t bytes, struct error *e);
int env_uv_file_lock(struct env_file *f, struct error *e);
int env_uv_rename(struct env *env, const char *from, const char *to, struct error *e);
int env_uv_remove(struct env *env, const char *path, struct error *e);
int env_uv_make_dir(struct env *env, const char *path, struct error *e);
int env_uv_sync_dir(struct env *env, const char *path, struct error *e);
int env_uv_list_dir(struct env *env, const char *path, env_names_cb cb, void *arg, struct error *e);
int env_uv_free_bytes(struct env *env, const char *path, uint64_t *bytes, struct error *e);

#endif
