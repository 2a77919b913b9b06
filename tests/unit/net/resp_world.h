/* A RESP server over socketpairs: a real service without a cluster, and one node command
 * `tell WORDS...` that answers with its words as JSON (or keeps the request: `tell later`). */
#ifndef USHER_TESTS_RESP_WORLD_H
#define USHER_TESTS_RESP_WORLD_H

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "net/resp/resp.h"
#include "raftio/env_uv.h"

struct resp_world {
    uv_loop_t loop;
    struct env *env;
    struct registry *registry;
    struct service *service;
    struct access *access;
    struct resp *resp;
    struct scripts *scripts; /* NULL in most worlds */
    uv_timer_t guard;
    bool late, resp_closed;
    struct request *kept[16];
    size_t kept_count, canceled;
};

static inline void world_tell(struct resp_world *w, struct request *r)
{
    struct buf b = BUF_INIT;
    buf_put_u8(&b, '[');
    for (size_t i = 1; i < r->argc; i++) {
        json_put_comma(&b);
        json_put_string(&b, r->argv[i]);
    }
    buf_put_u8(&b, ']');
    service_answer(w->service, r, 0, NULL, span_make((const char *)b.data, b.len));
    buf_free(&b);
}

static inline void world_node_command(void *arg, struct request *r, const struct call *call)
{
    struct resp_world *w = arg;
    (void)call;
    if (r->argc == 2 && span_is(r->argv[1], "later")) {
        w->kept[w->kept_count++] = r;
    } else if (r->argc == 2 && span_is(r->argv[1], "wrong")) {
        struct error e;
        error_clear(&e);
        e.code = ERR_TAKEN;
        strcpy(e.message, "one\r\n-two"); /* as a foreign text could be */
        service_answer(w->service, r, e.code, &e, span_of(""));
    } else {
        world_tell(w, r);
    }
}

static inline void world_node_cancel(void *arg, struct request *r)
{
    struct resp_world *w = arg;
    (void)r;
    w->canceled++;
}

static inline char *world_text(const char *s) { return mem_strndup(s, strlen(s)); }

static inline void world_command(struct resp_world *w, const char *name, int access)
{
    struct error e = { 0 };
    struct command_def *def = mem_zalloc(sizeof *def);
    def->name = world_text(name);
    def->group = world_text("test");
    def->summary = world_text("Say it again");
    def->example = world_text(name);
    def->kind = COMMAND_NODE;
    def->access = access;
    def->aliases = mem_zalloc(sizeof *def->aliases);
    def->args = mem_zalloc(sizeof *def->args);
    def->args_count = 1;
    def->args[0].name = world_text("words");
    def->args[0].type = ARG_STRING;
    def->args[0].many = true;
    def->args[0].optional = true;
    assert_int_equal(registry_add(w->registry, def, &e), 0);
}

static inline void world_guard(uv_timer_t *t)
{
    struct resp_world *w = t->data;
    w->late = true;
}

/* files: node scripts of the profile, NULL-ended; NULL for none. */
static inline void world_start_files(struct resp_world *w, bool users, bool scripts,
                                     const char *const *files)
{
    struct error e = { 0 };
    memset(w, 0, sizeof *w);
    (void)signal(SIGPIPE, SIG_IGN); /* as main does */
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(env_uv_new(&w->loop, &w->env, &e), 0);
    w->registry = registry_new();
    struct service_options so = { .env = w->env,
                                  .registry = w->registry,
                                  .node_command = world_node_command,
                                  .node_cancel = world_node_cancel,
                                  .arg = w };
    if (scripts) {
        struct scripts_options sco = { .env = w->env,
                                       .registry = w->registry,
                                       .files = files,
                                       .profile = "test",
                                       .version = "0" };
        if (scripts_new(&sco, &w->scripts, &e) != 0) {
            fail_msg("scripts: %s", e.message);
        }
        so.node_command = scripts_node_command;
        so.node_cancel = scripts_node_cancel;
        so.arg = w->scripts;
    } else {
        world_command(w, "tell", ACCESS_PUBLIC);
        world_command(w, "manage", ACCESS_ADMIN);
    }
    assert_int_equal(service_new(&so, &w->service, &e), 0);
    if (scripts) {
        struct request_sink sink;
        service_sink(w->service, &sink);
        scripts_attach(w->scripts, &sink, NULL);
    }
    if (users) {
        w->access = access_new();
        assert_int_equal(access_add(w->access, "root", "secret", ACCESS_ADMIN, NULL, &e), 0);
        assert_int_equal(access_add(w->access, "app", "pw", ACCESS_CLIENT, NULL, &e), 0);
        /* PBKDF2-HMAC-SHA256 of "slow", salt 00ff, 1000 rounds */
        assert_int_equal(
            access_add(w->access, "slow",
                       "pbkdf2-sha256$1000$00ff$"
                       "8106be460633297de9fa5b3a99e16b7341cf44d2b5eba5230ade70da13705570",
                       ACCESS_ADMIN, NULL, &e),
            0);
    }
    struct resp_options ro = { .loop = &w->loop,
                               .env = w->env,
                               .service = w->service,
                               .scripts = w->scripts,
                               .access = w->access,
                               .untaken_max = 8 * 1024 * 1024 };
    assert_int_equal(resp_new(&ro, &w->resp, &e), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->guard), 0);
    w->guard.data = w;
}

static inline void world_start_with(struct resp_world *w, bool users, bool scripts)
{
    world_start_files(w, users, scripts, NULL);
}

static inline void world_start(struct resp_world *w, bool users)
{
    world_start_with(w, users, false);
}

static inline void world_resp_closed(void *arg)
{
    struct resp_world *w = arg;
    w->resp_closed = true;
}

static inline void world_walk(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h)) {
        uv_close(h, NULL);
    }
}

static inline void world_stop(struct resp_world *w)
{
    resp_close(w->resp, world_resp_closed, w);
    while (!w->resp_closed) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    for (size_t i = 0; i < w->kept_count; i++) {
        world_tell(w, w->kept[i]);
    }
    if (w->scripts != NULL) {
        scripts_free(w->scripts);
    }
    service_free(w->service);
    registry_free(w->registry);
    access_free(w->access);
    env_uv_free(w->env);
    uv_walk(&w->loop, world_walk, NULL);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

/* A client end of a new connection, non-blocking. */
static inline int world_connect(struct resp_world *w)
{
    int fds[2];
    struct error e = { 0 };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(resp_accept(w->resp, fds[0], &e), 0);
    return fds[1];
}

/* One step of the loop, waiting at most until the deadline set by world_deadline. */
static inline void world_step(struct resp_world *w) { (void)uv_run(&w->loop, UV_RUN_NOWAIT); }

static inline void world_deadline(struct resp_world *w, unsigned ms)
{
    w->late = false;
    uv_update_time(&w->loop);
    (void)uv_timer_start(&w->guard, world_guard, ms, 0);
}

/* Reads until `want` bytes or the end of the stream; true when the stream ended. */
static inline bool world_read(struct resp_world *w, int fd, struct buf *out, size_t want)
{
    char bytes[4096];
    world_deadline(w, 5000);
    while (out->len < want) {
        world_step(w);
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n > 0) {
            buf_put(out, bytes, (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            return true;
        }
        if (w->late) {
            print_error("so far: %.*s\n", (int)out->len, (char *)out->data);
            fail_msg("no answer within the deadline");
        }
    }
    return false;
}

static inline void world_write(struct resp_world *w, int fd, const void *data, size_t len)
{
    const char *p = data;
    world_deadline(w, 5000);
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (n < 0 && errno != EAGAIN) {
            return; /* cut off: the test looks at what was answered */
        }
        world_step(w);
        assert_false(w->late);
    }
}

/* Sends text, ends the sending direction, returns everything that comes back (to be freed
 * with buf_free); `ended` says whether the server closed by itself before our end. */
static inline struct buf world_talk(struct resp_world *w, const void *data, size_t len)
{
    struct buf out = BUF_INIT;
    int fd = world_connect(w);
    world_write(w, fd, data, len);
    (void)shutdown(fd, SHUT_WR);
    assert_true(world_read(w, fd, &out, SIZE_MAX));
    (void)close(fd);
    world_step(w);
    buf_put_u8(&out, 0);
    return out;
}

#endif
