/* Files that scripts write: append() into files/ of the node's data directory, and the place
 * of its commit hooks (the file `hooks`). Jobs run off the loop, one at a time and in order.
 *
 * A file that has reached its size is renamed to NAME.1 (and .1 to .2 ...) before the next
 * text; APPEND_FILES_KEPT old ones stay. Texts are written whole or the rest is cut off again,
 * so a full disk leaves no half line. Nothing is synced: what was appended survives the death
 * of the process, not of the machine.
 *
 * F1 a name has no folder in it and does not begin with a dot: nothing leaves files/
 * F2 append() returns once its text is in the file, so at most one text per task waits */
#define LOG_MODULE "script"
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "script/script_impl.h"

struct file_op {
    struct file_op *next;
    bool replace;
    char name[ID_BYTES_MAX + 1];
    struct buf text;
    struct await *await; /* NULL: nobody waits */
    int code;
    struct error error;
};

struct file_queue {
    struct env *env;
    struct env_job job;
    struct file_op *head, *tail; /* the head is with the worker while `busy` */
    bool busy;
    uint64_t rotate_bytes;
    char dir[4096]; /* the node's; files/ is below it */
};

struct file_queue *file_queue_new(struct scripts *s, const char *dir, uint64_t rotate_bytes)
{
    struct file_queue *q = mem_zalloc(sizeof *q);
    if (q != NULL) {
        q->env = s->env;
        q->rotate_bytes = rotate_bytes != 0 ? rotate_bytes : APPEND_FILE_BYTES;
        (void)snprintf(q->dir, sizeof q->dir, "%s", dir);
    }
    return q;
}

static void op_free(struct file_op *op)
{
    buf_free(&op->text);
    mem_free(op);
}

void file_queue_free(struct file_queue *q)
{
    ASSERT(q->head == NULL);
    mem_free(q);
}

bool file_queue_idle(const struct file_queue *q) { return q->head == NULL; }

/* ---- On the worker ------------------------------------------------------------------ */

static int rotate(const struct file_queue *q, const char *path)
{
    const struct env_ops *ops = q->env->ops;
    char from[4500], to[4500];
    struct error e;
    for (int i = APPEND_FILES_KEPT; i > 0; i--) {
        (void)snprintf(to, sizeof to, "%s.%d", path, i);
        (void)snprintf(from, sizeof from, "%s.%d", path, i - 1);
        int code = ops->rename(q->env, i == 1 ? path : from, to, &e);
        if (code != 0 && code != ERR_NOTFOUND && i == 1) {
            return code;
        }
    }
    return 0;
}

static int write_op(const struct file_queue *q, struct file_op *op, const char *path)
{
    const struct env_ops *ops = q->env->ops;
    struct env_file *f;
    uint64_t size = 0;
    int code = ops->file_open(q->env, path, ENV_WRITE | ENV_CREATE, &f, &op->error);
    if (code != 0) {
        return code;
    }
    code = ops->file_size(f, &size, &op->error);
    if (code == 0 && size > 0 && size + op->text.len > q->rotate_bytes) {
        ops->file_close(f);
        code = rotate(q, path);
        if (code != 0 ||
            (code = ops->file_open(q->env, path, ENV_WRITE | ENV_CREATE, &f, &op->error)) != 0) {
            return code;
        }
        code = ops->file_size(f, &size, &op->error);
    }
    if (code == 0) {
        code = ops->file_write(f, size, op->text.data, op->text.len, &op->error);
        if (code != 0) {
            (void)ops->file_truncate(f, size, NULL);
        }
    }
    ops->file_close(f);
    return code;
}

static int replace_op(const struct file_queue *q, struct file_op *op, const char *path)
{
    const struct env_ops *ops = q->env->ops;
    struct env_file *f;
    char part[4500];
    (void)snprintf(part, sizeof part, "%s.part", path);
    int code = ops->file_open(q->env, part, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f, &op->error);
    if (code != 0) {
        return code;
    }
    code = ops->file_write(f, 0, op->text.data, op->text.len, &op->error);
    ops->file_close(f);
    return code != 0 ? code : ops->rename(q->env, part, path, &op->error);
}

static void job_run(struct env_job *job)
{
    struct file_queue *q = job->arg;
    struct file_op *op = q->head;
    char path[4400];
    error_clear(&op->error);
    if (op->replace) {
        (void)snprintf(path, sizeof path, "%s/%s", q->dir, op->name);
        op->code = replace_op(q, op, path);
        return;
    }
    (void)snprintf(path, sizeof path, "%s/files", q->dir);
    op->code = q->env->ops->make_dir(q->env, path, &op->error);
    if (op->code == 0) {
        (void)snprintf(path, sizeof path, "%s/files/%s", q->dir, op->name);
        op->code = write_op(q, op, path);
    }
}

/* ---- On the loop ---------------------------------------------------------------------- */

static void next_job(struct file_queue *q);

static void job_done(struct env_job *job)
{
    struct file_queue *q = job->arg;
    struct file_op *op = q->head;
    q->head = op->next;
    q->tail = q->head == NULL ? NULL : q->tail;
    q->busy = false;
    if (op->await != NULL) {
        op->await->code = op->code;
        op->await->error = op->error;
        await_ready(op->await);
    } else if (op->code != 0) {
        log_warn("%s: %s", op->name, op->error.message);
    }
    op_free(op);
    next_job(q);
}

static void next_job(struct file_queue *q)
{
    if (q->head != NULL && !q->busy) {
        q->busy = true;
        q->job = (struct env_job){ .run = job_run, .done = job_done, .arg = q };
        q->env->ops->job(q->env, &q->job);
    }
}

static bool put_op(struct file_queue *q, const char *name, bool replace, struct span text,
                   struct await *await)
{
    struct file_op *op = mem_zalloc(sizeof *op);
    if (op == NULL) {
        return false;
    }
    (void)snprintf(op->name, sizeof op->name, "%s", name);
    op->replace = replace;
    op->await = await;
    buf_put(&op->text, text.data, text.len);
    if (op->text.failed) {
        op_free(op);
        return false;
    }
    *(q->tail != NULL ? &q->tail->next : &q->head) = op;
    q->tail = op;
    next_job(q);
    return true;
}

void file_queue_replace(struct file_queue *q, const char *name, struct span text)
{
    (void)put_op(q, name, true, text, NULL);
}

static bool name_allowed(struct span name)
{
    if (name.len == 0 || name.len > 100 || name.data[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-')) {
            return false;
        }
    }
    return true;
}

/* -> true | nil, message, code */
static int append_done(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    return await_true(L, await_end(L));
}

/* append(file, text) */
int host_append(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    struct span name, text;
    name.data = luaL_checklstring(L, 1, &name.len);
    text.data = luaL_checklstring(L, 2, &text.len);
    luaL_argcheck(L, name_allowed(name), 1,
                  "a plain file name is wanted (letters, digits, . _ -, no folder, at most 100)");
    luaL_argcheck(L, text.len <= APPEND_BYTES_MAX, 2, "at most 1 MiB at once");
    if (!lua_isyieldable(L)) {
        return luaL_error(L, "append cannot be called from inside a sort or gsub callback");
    }
    struct await *a = await_new(task_current(L));
    if (a == NULL || !put_op(s->out, name.data, false, text, a)) {
        if (a != NULL) {
            await_free(a);
        }
        return luaL_error(L, "out of memory");
    }
    return await_yield(L, a, append_done);
}
