/* `backup FILE`: the node streams, this program writes.
 *
 *   USHER.BACKUP -> ["data", bytes] ... -> FILE.part -> sync -> read again, every block
 *   checked -> rename -> sync of the directory
 *
 * How it fails: a node that is stopping or cannot be reached: the next address, from the
 * beginning. A full disk here, Ctrl-C, an error of the node: FILE.part is removed, one error.
 *
 * Invariants
 *   1 FILE is never overwritten, and appears whole and checked or not at all
 *   2 at most one reply of the node (256 KiB) is in memory */
#include "console/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "cluster/restore.h"
#include "console/client_impl.h"
#include "console/offline.h"

#define TRIES_PER_NODE 2
#define SILENT_WAIT_MS 30000 /* the node proves a read index and may write a snapshot first */

struct taking {
    struct client *c;
    const char *file;
    char *part;
    bool local;
    const volatile sig_atomic_t *interrupts;
    int fd;
    uint64_t bytes;
    struct buf *facts;
};

bool backup_is(size_t argc, const struct span *argv)
{
    if (argc < 2 || !span_is(argv[0], "backup")) {
        return false;
    }
    for (size_t i = 1; i < argc; i++) {
        if (span_is(argv[i], "--request")) {
            return false; /* meant for the node: a file there */
        }
    }
    return true;
}

/* ---- The file ---------------------------------------------------------------------------- */

static int file_error(const char *what, const char *path, struct error *e)
{
    int code = errno == ENOSPC ? ERR_NOSPACE : ERR_IO;
    error_set(e, code, "cannot %s %s: %s", what, path, strerror(errno));
    if (code == ERR_NOSPACE) {
        error_hint(e, "make room on this machine, or give a FILE on another disk");
    }
    return code;
}

static int put(struct taking *t, const char *data, size_t len, struct error *e)
{
    while (len > 0) {
        ssize_t n = write(t->fd, data, len);
        if (n < 0 && errno != EINTR) {
            return file_error("write", t->part, e);
        }
        n = n < 0 ? 0 : n;
        data += n;
        len -= (size_t)n;
        t->bytes += (size_t)n;
    }
    return 0;
}

static int sync_parent(const char *path, struct error *e)
{
    char *dir = mem_strndup(path, strlen(path));
    char *slash = strrchr(dir, '/');
    const char *name = slash == NULL ? "." : slash == dir ? "/" : dir;
    if (slash != NULL) {
        *slash = '\0';
    }
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? file_error("sync the directory of", path, e) : 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    mem_free(dir);
    return rc;
}

static int verify(const char *path, struct error *e)
{
    struct offline o;
    struct restore_result result;
    int rc = offline_open(&o, e);
    if (rc == 0) {
        rc = restore_verify(o.env, path, &result, e);
        offline_close(&o);
    }
    return rc;
}

/* Never over another file; where a file can have one name only, by renaming it. */
static int give_name(const struct taking *t, struct error *e)
{
    int rc = link(t->part, t->file);
    if (rc != 0 && (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS)) {
        rc = renameat2(AT_FDCWD, t->part, AT_FDCWD, t->file, RENAME_NOREPLACE);
    }
    return rc != 0 ? file_error("name", t->file, e) : 0;
}

static int finish_file(struct taking *t, struct error *e)
{
    int rc = fsync(t->fd) != 0 ? file_error("sync", t->part, e) : 0;
    rc = rc != 0 ? rc : verify(t->part, e);
    rc = rc != 0 ? rc : give_name(t, e);
    (void)unlink(t->part);
    return rc != 0 ? rc : sync_parent(t->file, e);
}

/* ---- The stream ---------------------------------------------------------------------------- */

static struct span element(const redisReply *r, size_t i)
{
    if (r->type != REDIS_REPLY_ARRAY || i >= r->elements || r->element[i]->str == NULL) {
        return span_make("", 0);
    }
    return span_make(r->element[i]->str, r->element[i]->len);
}

static int broken(struct taking *t, const char *why, struct error *e)
{
    error_set(e, ERR_IO, "the connection to %s broke: %s", client_address(t->c), why);
    error_hint(e, "run it again; nothing was written");
    client_disconnect(t->c);
    return ERR_IO;
}

/* The next reply, looking for Ctrl-C meanwhile. */
static int next_reply(struct taking *t, redisReply **out, struct error *e)
{
    uint64_t until = client_now_ms() + SILENT_WAIT_MS;
    while (true) {
        void *reply = NULL;
        if (redisGetReplyFromReader(t->c->redis, &reply) != REDIS_OK) {
            return broken(t, t->c->redis->errstr, e);
        }
        if (reply != NULL) {
            *out = reply;
            return 0;
        }
        struct pollfd p = { t->c->redis->fd, POLLIN, 0 };
        int n = poll(&p, 1, 100);
        if (t->interrupts != NULL && *t->interrupts != 0) {
            client_disconnect(t->c);
            return error_set(e, ERR_CANCELED, "interrupted; nothing was written");
        }
        if (n > 0 && redisBufferRead(t->c->redis) != REDIS_OK) {
            return broken(t, t->c->redis->errstr, e);
        }
        if (n <= 0 && client_now_ms() > until) {
            return broken(t, "no answer for 30 s", e);
        }
    }
}

static int read_stream(struct taking *t, struct error *e)
{
    while (true) {
        redisReply *r = NULL;
        int rc = next_reply(t, &r, e);
        if (rc != 0) {
            return rc;
        }
        struct span kind = element(r, 0);
        bool done = false;
        if (r->type == REDIS_REPLY_ERROR) {
            rc = client_take_error(r->str, r->len, e);
        } else if (span_is(kind, "data")) {
            struct span bytes = element(r, 1);
            rc = put(t, bytes.data, bytes.len, e);
            if (rc != 0) {
                client_disconnect(t->c); /* the rest of the stream is still on its way */
            }
        } else if (span_is(kind, "done")) {
            struct span line = element(r, 2), facts = element(r, 3);
            done = true;
            rc = line.len > 0 ? client_take_error(line.data, line.len, e) : 0;
            buf_clear(t->facts);
            buf_put(t->facts, facts.data, facts.len);
        } else {
            rc = broken(t, "it does not speak this program's protocol", e);
        }
        freeReplyObject(r);
        if (rc != 0 || done) {
            return rc;
        }
    }
}

static int take_once(struct taking *t, struct error *e)
{
    int rc = t->c->redis != NULL ? 0 : client_connect_any(t->c, e);
    if (rc != 0) {
        return rc;
    }
    if (ftruncate(t->fd, 0) != 0 || lseek(t->fd, 0, SEEK_SET) != 0) {
        return file_error("write", t->part, e);
    }
    t->bytes = 0;
    const char *argv[] = { "USHER.BACKUP", "--stale" };
    const size_t lens[] = { strlen(argv[0]), strlen(argv[1]) };
    (void)redisAppendCommandArgv(t->c->redis, t->local ? 2 : 1, argv, lens);
    int written = 0;
    while (written == 0) {
        if (redisBufferWrite(t->c->redis, &written) != REDIS_OK) {
            return broken(t, t->c->redis->errstr, e);
        }
    }
    return read_stream(t, e);
}

static int take(struct taking *t, struct error *e)
{
    int rc = 0;
    for (size_t i = 0; i < TRIES_PER_NODE * t->c->count; i++) {
        rc = take_once(t, e);
        if (!client_is_cut(rc) && rc != ERR_NOTREADY && rc != ERR_BUSY) {
            return rc;
        }
        client_disconnect(t->c);
        client_next_address(t->c);
        client_pause_ms(CLIENT_RETRY_MS);
    }
    return rc;
}

/* ---- The command ---------------------------------------------------------------------------- */

static int usage(struct error *e)
{
    error_set(e, ERR_BADARG, "backup takes one FILE");
    error_hint(e, "usage: backup FILE [--stale]");
    return ERR_BADARG;
}

/* The file's name and the flag from the words. */
static int words(struct taking *t, size_t argc, const struct span *argv, char **file,
                 struct error *e)
{
    for (size_t i = 1; i < argc; i++) {
        if (span_is(argv[i], "--stale")) {
            t->local = true;
        } else if (*file != NULL || argv[i].len == 0 || argv[i].data[0] == '-') {
            return usage(e);
        } else {
            *file = mem_strndup(argv[i].data, argv[i].len);
        }
    }
    return *file != NULL ? 0 : usage(e);
}

static int open_part(struct taking *t, struct error *e)
{
    if (access(t->file, F_OK) == 0) {
        error_set(e, ERR_CONFLICT, "%s is there already", t->file);
        error_hint(e, "give another name, or remove it first");
        return ERR_CONFLICT;
    }
    t->fd = open(t->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return t->fd < 0 ? file_error("create", t->part, e) : 0;
}

static void answer(const struct taking *t, struct buf *json, struct buf *note)
{
    buf_put_str(json, "{");
    json_field_string(json, "file", span_of(t->file));
    if (t->facts->len > 2) { /* {"index":...} behind it */
        buf_put_str(json, ",");
        buf_put(json, t->facts->data + 1, t->facts->len - 1);
    } else {
        buf_put_str(json, "}");
    }
    buf_printf(note,
               "%s is whole: all that was acknowledged before the backup began is in it. To make a "
               "new cluster of it: usher restore %s --id 0",
               t->file, t->file);
    if (t->local) {
        buf_clear(note);
        buf_printf(note, "%s is whole: what %s had committed, which may not be the newest", t->file,
                   client_address(t->c));
    }
}

int backup_take(struct client *c, size_t argc, const struct span *argv,
                const volatile sig_atomic_t *interrupts, struct buf *json, struct buf *note,
                struct error *e)
{
    struct buf facts = BUF_INIT;
    struct taking t = { .c = c, .interrupts = interrupts, .fd = -1, .facts = &facts };
    char *file = NULL;
    int rc = words(&t, argc, argv, &file, e);
    if (rc == 0) {
        size_t len = strlen(file) + 6;
        t.file = file;
        t.part = mem_must_alloc(len);
        (void)snprintf(t.part, len, "%s.part", file);
        rc = open_part(&t, e);
    }
    if (rc == 0) {
        rc = take(&t, e);
        rc = rc != 0 ? rc : finish_file(&t, e);
        if (rc != 0) {
            (void)unlink(t.part);
        }
    }
    if (t.fd >= 0) {
        (void)close(t.fd);
    }
    if (rc == 0) {
        answer(&t, json, note);
    }
    buf_free(&facts);
    mem_free(t.part);
    mem_free(file);
    return rc;
}

bool backup_line(struct client *c, struct span line, const volatile sig_atomic_t *interrupts,
                 struct buf *json, struct buf *note, int *code, struct error *e)
{
    struct span list[8];
    size_t n = 0;
    for (size_t at = 0; at < line.len && n < sizeof list / sizeof list[0];) {
        while (at < line.len && (line.data[at] == ' ' || line.data[at] == '\t')) {
            at++;
        }
        char quote = at < line.len && (line.data[at] == '"' || line.data[at] == '\'')
                         ? line.data[at++]
                         : '\0';
        size_t from = at;
        while (at < line.len && (quote != '\0' ? line.data[at] != quote
                                               : line.data[at] != ' ' && line.data[at] != '\t')) {
            at++;
        }
        if (at > from) {
            list[n++] = span_make(line.data + from, at - from);
        }
        at += quote != '\0';
    }
    /* What follows a word decides in the console: `backup = 3` is Lua. */
    if (!backup_is(n, list) || strchr("=([.:,", list[1].data[0]) != NULL) {
        return false;
    }
    *code = backup_take(c, n, list, interrupts, json, note, e);
    return true;
}
