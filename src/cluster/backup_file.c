/* A backup into a file of this node: backups/NAME in its data directory, for `backup` over
 * RESP and from scripts (the one-shot program and the console write on their own machine).
 *
 *   pieces (backup.c) -> NAME.part, written in jobs -> sync -> rename -> sync of the directory
 *
 * How it fails: with one error; the part file is removed. A file of that name stays as it is.
 *
 * Invariant: a file without .part was complete and synced before it got that name. */
#define LOG_MODULE "backup"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/backup.h"
#include "cluster/internal.h"

#define FILE_NAME_BYTES_MAX 200

struct backup_file {
    struct cluster *c;
    struct cluster_backup *b;
    cluster_backup_file_cb cb;
    void *arg;
    char *dir, *path, *part;
    struct env_job job;
    struct env_file *file;
    struct buf piece;
    uint64_t at;
    bool last;
    int status;
    struct error error;
};

static void end(struct backup_file *f, int status, const struct error *e)
{
    if (status == 0) {
        log_info("backup of entry %llu written to %s, %llu bytes",
                 (unsigned long long)cluster_backup_head(f->b)->index, f->path,
                 (unsigned long long)f->at);
    }
    f->cb(f->arg, status, e, f->b != NULL ? cluster_backup_head(f->b) : NULL, f->path, f->at);
    if (f->b != NULL) {
        cluster_backup_free(f->b);
    }
    buf_free(&f->piece);
    mem_free(f->dir);
    mem_free(f->path);
    mem_free(f->part);
    mem_free(f);
}

/* ---- On a worker -------------------------------------------------------------------------- */

static int open_part(struct backup_file *f, struct error *e)
{
    const struct env_ops *ops = f->c->env->ops;
    struct env_file *there = NULL;
    int rc = ops->file_open(f->c->env, f->path, ENV_READ, &there, e);
    if (rc == 0) {
        ops->file_close(there);
        error_set(e, ERR_CONFLICT, "%s is there already", f->path);
        error_hint(e, "choose another name, or remove that file on the node");
        return ERR_CONFLICT;
    }
    rc = rc == ERR_NOTFOUND ? ops->make_dir(f->c->env, f->dir, e) : rc;
    return rc != 0 ? rc
                   : ops->file_open(f->c->env, f->part, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE,
                                    &f->file, e);
}

static int finish_file(struct backup_file *f, struct error *e)
{
    const struct env_ops *ops = f->c->env->ops;
    int rc = ops->file_sync(f->file, e);
    ops->file_close(f->file);
    f->file = NULL;
    rc = rc != 0 ? rc : ops->rename(f->c->env, f->part, f->path, e);
    return rc != 0 ? rc : ops->sync_dir(f->c->env, f->dir, e);
}

static void run_job(struct env_job *job)
{
    struct backup_file *f = job->arg;
    const struct env_ops *ops = f->c->env->ops;
    if (f->status == 0 && f->at == 0) {
        f->status = open_part(f, &f->error);
        if (f->status != 0) {
            f->file = NULL;
            return; /* nothing of ours is there */
        }
    }
    if (f->status == 0) {
        f->status = ops->file_write(f->file, f->at, f->piece.data, f->piece.len, &f->error);
        f->at += f->piece.len;
    }
    if (f->status == 0 && f->last) {
        f->status = finish_file(f, &f->error);
    }
    if (f->status != 0) {
        if (f->file != NULL) {
            ops->file_close(f->file);
            f->file = NULL;
        }
        (void)ops->remove(f->c->env, f->part, NULL);
    }
}

/* ---- On the loop -------------------------------------------------------------------------- */

static void on_piece(void *arg, int status, const struct error *e, struct buf *b, bool last);

static void done_job(struct env_job *job)
{
    struct backup_file *f = job->arg;
    struct cluster *c = f->c;
    c->jobs--;
    if (f->status != 0 || f->last) {
        end(f, f->status, &f->error);
    } else {
        cluster_backup_next(f->b, on_piece, f);
    }
    cluster_pump(c);
    cluster_finish_stop(c);
}

static void start_job(struct backup_file *f)
{
    f->c->jobs++;
    f->job = (struct env_job){ .run = run_job, .done = done_job, .arg = f };
    f->c->env->ops->job(f->c->env, &f->job);
}

static void on_piece(void *arg, int status, const struct error *e, struct buf *b, bool last)
{
    struct backup_file *f = arg;
    f->last = last;
    if (status != 0) {
        f->status = status;
        f->error = *e;
        if (f->at == 0) {
            end(f, status, &f->error);
            return;
        }
    }
    buf_free(&f->piece);
    f->piece = *b;
    buf_init(b);
    start_job(f);
}

static bool name_ok(struct span name)
{
    bool ok = name.len > 0 && name.len <= FILE_NAME_BYTES_MAX && name.data[0] != '.';
    for (size_t i = 0; ok && i < name.len; i++) {
        unsigned char ch = (unsigned char)name.data[i];
        ok = ch > 0x20 && ch != 0x7f && ch != '/' && ch != '\\';
    }
    return ok && !(name.len > 5 && memcmp(name.data + name.len - 5, ".part", 5) == 0);
}

void cluster_backup_file(struct cluster *c, bool local, struct span name, cluster_backup_file_cb cb,
                         void *arg)
{
    struct error e;
    if (!name_ok(name)) {
        (void)error_set(&e, ERR_BADARG, "`%.*s` is no file name", (int)(name.len % 1000),
                        name.data);
        error_hint(&e, "over RESP and from scripts the file goes to backups/ in this node's data "
                       "directory: give a plain name; `usher backup FILE` writes anywhere");
        cb(arg, e.code, &e, NULL, "", 0);
        return;
    }
    size_t room = strlen(c->dir) + name.len + 32;
    struct backup_file *f = mem_must_alloc(sizeof *f);
    *f = (struct backup_file){ .c = c, .cb = cb, .arg = arg };
    f->dir = mem_must_alloc(room);
    f->path = mem_must_alloc(room);
    f->part = mem_must_alloc(room);
    (void)snprintf(f->dir, room, "%s/backups", c->dir);
    (void)snprintf(f->path, room, "%s/%.*s", f->dir, (int)name.len, name.data);
    (void)snprintf(f->part, room, "%s.part", f->path);
    f->b = cluster_backup_new(c, local);
    if (f->b == NULL) {
        (void)error_set(&e, ERR_NOMEM, "out of memory");
        end(f, e.code, &e);
        return;
    }
    cluster_backup_next(f->b, on_piece, f);
}
