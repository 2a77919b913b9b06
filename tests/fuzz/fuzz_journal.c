/* Fuzzes recovery: whatever the segment files hold, opening either refuses with ERR_CORRUPT
 * or gives a log that stays the same when it is closed and opened again, and that can be
 * appended to.
 *
 * Input: byte 0 chooses the mode. 0: the rest is log-1 byte for byte. Else a small program
 * that lays records with good checksums and arbitrary fields into two segments (so that
 * the fuzzer gets past the checksums), then overwrites some bytes. The disk is a handful of
 * memory files; jobs run at once and report when the loop below turns. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "raftio/journal.h"
#include "raftio/journal_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NODE_ID   0x1122334455667788ull
#define FILES_MAX 16
#define SEGMENT   4096

/* ---- A disk and a loop of the smallest kind ----------------------------- */

/* The largest file here is two segments and what the last record adds; memory is kept from
 * run to run, since fresh pages cost more than all the parsing. */
#define FILE_BYTES ((size_t)1024 * 1024)

struct file {
    char name[64];
    uint8_t *data;
    size_t len, cap;
    bool used;
};

struct env_file {
    struct file *f;
};

struct env_timer {
    int unused;
};

static struct file files[FILES_MAX];
static struct env_job *jobs[FILES_MAX];
static size_t jobs_count;
static struct env_defer *deferred;

static struct file *find(const char *path)
{
    const char *name = strrchr(path, '/') + 1;
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (files[i].used && strcmp(files[i].name, name) == 0) {
            return &files[i];
        }
    }
    return NULL;
}

static struct file *make(const char *path)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (!files[i].used) {
            files[i].used = true;
            (void)snprintf(files[i].name, sizeof files[i].name, "%s", strrchr(path, '/') + 1);
            return &files[i];
        }
    }
    abort();
}

static void drop(struct file *f) { *f = (struct file){ .data = f->data, .cap = f->cap }; }

static void grow(struct file *f, size_t len)
{
    if (len > f->cap) {
        ASSERT(len <= FILE_BYTES);
        f->cap = len > 4 * SEGMENT ? FILE_BYTES : 4 * SEGMENT;
        f->data = realloc(f->data, f->cap);
    }
    if (len > f->len) {
        memset(f->data + f->len, 0, len - f->len);
        f->len = len;
    }
}

static int f_open(struct env *env, const char *path, int flags, struct env_file **out,
                  struct error *e)
{
    (void)env;
    struct file *f = find(path);
    if (f == NULL && (flags & ENV_CREATE) == 0) {
        return error_set(e, ERR_NOTFOUND, "%s: not there", path);
    }
    f = f != NULL ? f : make(path);
    if ((flags & ENV_TRUNCATE) != 0) {
        f->len = 0;
    }
    *out = malloc(sizeof **out);
    (*out)->f = f;
    return 0;
}

static void f_close(struct env_file *f) { free(f); }

static int f_read(struct env_file *f, uint64_t at, void *out, size_t len, size_t *got,
                  struct error *e)
{
    (void)e;
    size_t have = at < f->f->len ? f->f->len - (size_t)at : 0;
    *got = len < have ? len : have;
    if (*got > 0) {
        memcpy(out, f->f->data + at, *got);
    }
    return 0;
}

static int f_write(struct env_file *f, uint64_t at, const void *data, size_t len, struct error *e)
{
    (void)e;
    grow(f->f, (size_t)at + len);
    memcpy(f->f->data + at, data, len);
    return 0;
}

static int f_sync(struct env_file *f, struct error *e)
{
    (void)f;
    (void)e;
    return 0;
}

static int f_size(struct env_file *f, uint64_t *bytes, struct error *e)
{
    (void)e;
    *bytes = f->f->len;
    return 0;
}

static int f_allocate(struct env_file *f, uint64_t bytes, struct error *e)
{
    (void)e;
    grow(f->f, (size_t)bytes);
    memset(f->f->data, 0, (size_t)bytes);
    return 0;
}

static int d_rename(struct env *env, const char *from, const char *to, struct error *e)
{
    (void)env;
    (void)e;
    if (find(to) != NULL) {
        drop(find(to));
    }
    (void)snprintf(find(from)->name, sizeof files[0].name, "%s", strrchr(to, '/') + 1);
    return 0;
}

static int d_remove(struct env *env, const char *path, struct error *e)
{
    (void)env;
    if (find(path) == NULL) {
        return error_set(e, ERR_NOTFOUND, "%s: not there", path);
    }
    drop(find(path));
    return 0;
}

static int d_nothing(struct env *env, const char *path, struct error *e)
{
    (void)env;
    (void)path;
    (void)e;
    return 0;
}

static int d_list(struct env *env, const char *path, env_names_cb cb, void *arg, struct error *e)
{
    (void)env;
    (void)path;
    (void)e;
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (files[i].used) {
            cb(arg, files[i].name);
        }
    }
    return 0;
}

static int d_free(struct env *env, const char *path, uint64_t *bytes, struct error *e)
{
    (void)env;
    (void)path;
    (void)e;
    *bytes = UINT64_MAX / 2;
    return 0;
}

static struct env_timer *t_new(struct env *env, void (*cb)(void *arg), void *arg)
{
    (void)env;
    (void)cb;
    (void)arg;
    return malloc(sizeof(struct env_timer));
}

static void t_start(struct env_timer *t, uint64_t after_ms)
{
    (void)t;
    (void)after_ms;
}

static void t_stop(struct env_timer *t) { (void)t; }
static void t_free(struct env_timer *t) { free(t); }

static void job(struct env *env, struct env_job *j)
{
    (void)env;
    j->run(j);
    ASSERT(jobs_count < FILES_MAX);
    jobs[jobs_count++] = j;
}

static void defer(struct env *env, struct env_defer *d)
{
    (void)env;
    if (!d->pending) {
        d->pending = true;
        d->next = deferred;
        deferred = d;
    }
}

static void undefer(struct env *env, struct env_defer *d)
{
    (void)env;
    for (struct env_defer **at = &deferred; *at != NULL; at = &(*at)->next) {
        if (*at == d) {
            *at = d->next;
            d->pending = false;
            return;
        }
    }
}

static void turn(void)
{
    while (deferred != NULL || jobs_count > 0) {
        if (deferred != NULL) {
            struct env_defer *d = deferred;
            deferred = d->next;
            d->pending = false;
            d->cb(d->arg);
        } else {
            struct env_job *j = jobs[0];
            memmove(jobs, jobs + 1, --jobs_count * sizeof *jobs);
            j->done(j);
        }
    }
}

static void random_bytes(struct env *env, void *out, size_t len)
{
    (void)env;
    memset(out, 7, len);
}

static uint64_t clock_ns(struct env *env)
{
    static uint64_t now;
    (void)env;
    return ++now * 1000;
}

static const struct env_ops ops = {
    .mono_ns = clock_ns,
    .random = random_bytes,
    .timer_new = t_new,
    .timer_start = t_start,
    .timer_stop = t_stop,
    .timer_free = t_free,
    .defer = defer,
    .undefer = undefer,
    .job = job,
    .file_open = f_open,
    .file_close = f_close,
    .file_read = f_read,
    .file_write = f_write,
    .file_sync = f_sync,
    .file_size = f_size,
    .file_allocate = f_allocate,
    .file_lock = f_sync,
    .rename = d_rename,
    .remove = d_remove,
    .make_dir = d_nothing,
    .sync_dir = d_nothing,
    .list_dir = d_list,
    .free_bytes = d_free,
};

static struct env env = { &ops };

/* ---- Building a directory from the input -------------------------------- */

static void put_file(const char *name, const void *data, size_t len)
{
    char path[80];
    (void)snprintf(path, sizeof path, "/%s", name);
    struct file *f = make(path);
    grow(f, len);
    if (len > 0) {
        memcpy(f->data, data, len);
    }
}

static void put_small_files(uint64_t mark)
{
    uint8_t bytes[IDENTITY_BYTES];
    identity_encode(bytes, &(struct journal_identity){ .node_id = NODE_ID });
    put_file("identity", bytes, sizeof bytes);
    slot_encode(bytes, SLOT_VOTE, NODE_ID, &(struct slot){ 1, 3, 0 });
    put_file("vote-0", bytes, SLOT_BYTES);
    put_file("vote-1", bytes, SLOT_BYTES);
    slot_encode(bytes, SLOT_MARK, NODE_ID, &(struct slot){ 1, mark, 0 });
    put_file("mark", bytes, SLOT_BYTES);
}

/* One segment from the program; stops at an op byte of 0 or the end of the input. */
static void put_program(struct reader *in, uint64_t number)
{
    struct buf out = BUF_INIT;
    uint8_t header[SEGMENT_HEADER_BYTES];
    segment_header_encode(header, NODE_ID, &(struct segment_header){ number, reader_varint(in) });
    buf_put(&out, header, sizeof header);
    uint8_t kind;
    while ((kind = reader_u8(in)) != 0 && out.len < (size_t)2 * SEGMENT) {
        struct record r = { .kind = kind % 6, .type = reader_u8(in) };
        r.term = reader_varint(in);
        r.index = reader_varint(in);
        r.durable = position_make(number, reader_varint(in));
        struct span payload = reader_bytes(in);
        r.data = (const uint8_t *)payload.data;
        r.len = payload.len;
        record_encode(&out, NODE_ID, position_make(number, out.len), &r);
    }
    while (reader_left(in) >= 3 && reader_u8(in) != 0) {
        size_t at = reader_u8(in) * 31u % out.len;
        out.data[at] ^= reader_u8(in);
    }
    char name[32];
    (void)snprintf(name, sizeof name, "log-%016llx", (unsigned long long)number);
    put_file(name, out.data, out.len);
    buf_free(&out);
}

static void build(const uint8_t *data, size_t size)
{
    struct reader in;
    reader_init(&in, data, size);
    uint8_t mode = reader_u8(&in);
    uint64_t mark = (mode & 2) != 0 ? position_make(1, reader_u16(&in)) : 0;
    put_small_files(mark);
    if ((mode & 1) == 0) {
        size_t len = in.failed ? 0 : reader_left(&in);
        put_file("log-0000000000000001", reader_raw(&in, len), len);
        return;
    }
    put_program(&in, 1);
    if ((mode & 4) != 0) {
        put_program(&in, 2);
    }
}

/* ---- The property ------------------------------------------------------- */

static void on_fatal(void *arg, const struct error *e)
{
    (void)arg;
    (void)fprintf(stderr, "fatal: %s\n", e->message);
    abort();
}

static void on_flag(void *arg) { *(bool *)arg = true; }

static void on_status(void *arg, int status)
{
    ASSERT(status == 0);
    *(bool *)arg = true;
}

static void close_journal(struct journal *j)
{
    bool closed = false;
    journal_close(j, on_flag, &closed);
    turn();
    ASSERT(closed);
}

static void check(void)
{
    const struct journal_options o = { .segment_bytes = SEGMENT, .fatal = on_fatal };
    struct journal_recovery rec;
    struct journal *j;
    struct error e = { 0 };
    int rc = journal_open(&env, "/d", &o, &j, &rec, &e);
    if (rc != 0) {
        ASSERT(rc == ERR_CORRUPT && e.message[0] != 0);
        return;
    }
    uint64_t first = rec.first_index, next = first + rec.entries_count;
    uint64_t terms = 0;
    for (size_t i = 0; i < rec.entries_count; i++) {
        terms = terms * 31 + rec.entries[i].term + rec.entries[i].len;
        for (size_t k = 0; k < rec.entries[i].len; k++) {
            terms += ((const uint8_t *)rec.entries[i].data)[k]; /* every byte is readable */
        }
    }
    journal_release_recovery(j, &rec);
    bool room = next < UINT64_MAX - 2; /* an index that no log ever reaches */
    if (room) {
        bool done = false;
        journal_append(j, next, &(struct journal_entry){ 9, 1, "x", 1 }, 1, on_status, &done);
        turn();
        ASSERT(done);
    }
    close_journal(j);
    rc = journal_open(&env, "/d", &o, &j, &rec, &e);
    ASSERT(rc == 0);
    ASSERT(rec.first_index == first && rec.first_index + rec.entries_count == next + room);
    ASSERT(rec.cut_bytes == 0);
    uint64_t again = 0;
    for (size_t i = 0; i < rec.entries_count - room; i++) {
        again = again * 31 + rec.entries[i].term + rec.entries[i].len;
        for (size_t k = 0; k < rec.entries[i].len; k++) {
            again += ((const uint8_t *)rec.entries[i].data)[k];
        }
    }
    ASSERT(again == terms);
    journal_release_recovery(j, &rec);
    close_journal(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_set_level(LOG_NONE);
    build(data, size);
    check();
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (files[i].used) {
            drop(&files[i]);
        }
    }
    ASSERT(mem_test_live() == 0);
    return 0;
}
