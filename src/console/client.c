/* See client.h.
 *
 * Invariants: K1 a command is sent again only with the request id of its first try.
 * K2 codes that leave the outcome open or say "not now" (UNKNOWN, NOQUORUM, NOTREADY,
 * BUSY) are tried again until the deadline, everything else is final. */
#include "console/client.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

#define CLIENT_TIMEOUT_MS 30000
#define CONNECT_MS        2000
/* Pause between two rounds over all addresses. */
#define RETRY_MS          50

struct client {
    char **addresses;
    size_t at, count; /* address in use, how many */
    char *user, *password;
    unsigned timeout_ms;
    redisContext *redis; /* NULL while not connected */
    bool session;        /* USHER.SESSION was sent on this connection */
};

static uint64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pause_ms(unsigned ms) { (void)poll(NULL, 0, (int)ms); }

char **client_addresses(const char *text)
{
    size_t n = 1;
    for (const char *p = text; *p != 0; p++) {
        n += *p == ',';
    }
    char **list = mem_must_alloc((n + 1) * sizeof *list);
    size_t i = 0;
    while (true) {
        size_t len = strcspn(text, ",");
        if (len > 0) {
            list[i++] = mem_strndup(text, len);
        }
        if (text[len] == 0) {
            break;
        }
        text += len + 1;
    }
    list[i] = NULL;
    return list;
}

void client_addresses_free(char **list)
{
    for (char **p = list; p != NULL && *p != NULL; p++) {
        mem_free(*p);
    }
    mem_free(list);
}

static int read_file(const char *path, struct buf *out, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_set(e, ERR_BADARG, "cannot read %s: %s", path, strerror(errno));
        error_hint(e, "an argument that starts with @ names a file; write @@ for a plain @");
        return ERR_BADARG;
    }
    ssize_t n = 0;
    while (out->len <= REQUEST_BYTES_MAX && buf_reserve(out, 65536)) {
        n = read(fd, out->data + out->len, out->cap - out->len);
        if (n <= 0) {
            break;
        }
        out->len += (size_t)n;
    }
    int code = 0;
    if (n < 0) {
        code = error_set(e, ERR_BADARG, "cannot read %s: %s", path, strerror(errno));
    } else if (out->failed || out->len > REQUEST_BYTES_MAX) {
        code = error_set(e, ERR_TOOBIG, "%s is larger than %d bytes", path, REQUEST_BYTES_MAX);
    }
    (void)close(fd);
    return code;
}

int client_argument(const char *arg, struct buf *out, struct error *e)
{
    if (arg[0] != '@' || arg[1] == 0) {
        buf_put_str(out, arg);
    } else if (arg[1] == '@') {
        buf_put_str(out, arg + 1);
    } else {
        return read_file(arg + 1, out, e);
    }
    return 0;
}

static void disconnect(struct client *c)
{
    if (c->redis != NULL) {
        redisFree(c->redis);
        c->redis = NULL;
    }
    c->session = false;
}

/* Splits "host:port" / "[v6]:port". */
static bool split_address(const char *address, char *host, size_t cap, int *port)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || sscanf(colon + 1, "%d", port) != 1) {
        return false;
    }
    const char *from = address;
    size_t len = (size_t)(colon - address);
    if (len >= 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (len == 0 || len >= cap) {
        return false;
    }
    memcpy(host, from, len);
    host[len] = 0;
    return true;
}

/* Moves an error line "CODE message; hint" into e. */
static int take_error(const char *line, size_t len, struct error *e)
{
    size_t word = 0;
    while (word < len && line[word] != ' ') {
        word++;
    }
    int code = error_from_wire(line, word);
    size_t at = code != 0 && word < len ? word + 1 : code != 0 ? len : 0;
    size_t semicolon = len;
    for (size_t i = at; i + 1 < len; i++) {
        if (line[i] == ';' && line[i + 1] == ' ') {
            semicolon = i; /* the last one: messages may contain some */
        }
    }
    code = code != 0 ? code : ERR_INTERNAL;
    error_set(e, code, "%.*s", (int)(semicolon - at), line + at);
    if (semicolon < len) {
        error_hint(e, "%.*s", (int)(len - semicolon - 2), line + semicolon + 2);
    }
    return code;
}

static int authenticate(struct client *c, struct error *e)
{
    if (c->password == NULL) {
        return 0;
    }
    redisReply *r = c->user != NULL ? redisCommand(c->redis, "AUTH %s %s", c->user, c->password)
                                    : redisCommand(c->redis, "AUTH %s", c->password);
    int code = 0;
    if (r == NULL) {
        code = error_set(e, ERR_IO, "%s: %s", c->addresses[c->at], c->redis->errstr);
    } else if (r->type == REDIS_REPLY_ERROR) {
        code = take_error(r->str, r->len, e);
    }
    freeReplyObject(r);
    return code;
}

static int connect_one(struct client *c, struct error *e)
{
    char host[256];
    int port;
    const char *address = c->addresses[c->at];
    if (!split_address(address, host, sizeof host, &port)) {
        error_set(e, ERR_BADARG, "`%s` is no address", address);
        error_hint(e, "write host:port, e.g. localhost:6000");
        return ERR_BADARG;
    }
    struct timeval limit = { CONNECT_MS / 1000, 0 };
    disconnect(c);
    redisContext *redis = redisConnectWithTimeout(host, port, limit);
    if (redis == NULL || redis->err != 0) {
        error_set(e, ERR_IO, "cannot reach %s: %s", address,
                  redis != NULL ? redis->errstr : "out of memory");
        error_hint(e, "is the node running? start it with `usher node --id N`");
        if (redis != NULL) {
            redisFree(redis);
        }
        return ERR_IO;
    }
    c->redis = redis;
    int code = authenticate(c, e);
    if (code != 0) {
        disconnect(c);
    }
    return code;
}

/* Tries every address once, beginning with the one in use. */
static int connect_any(struct client *c, struct error *e)
{
    int code = 0;
    for (size_t i = 0; i < c->count; i++) {
        code = connect_one(c, e);
        if (code != ERR_IO) {
            return code;
        }
        c->at = (c->at + 1) % c->count;
    }
    if (c->count > 1) {
        error_set(e, ERR_IO, "none of the %zu nodes can be reached (%s, ...)", c->count,
                  c->addresses[0]);
        error_hint(e, "is the cluster running? start a node with `usher node --id 0`");
    }
    return code;
}

int client_open(const struct client_options *o, struct client **out, struct error *e)
{
    struct client *c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    while (o->addresses[c->count] != NULL) {
        c->count++;
    }
    ASSERT(c->count > 0);
    c->addresses = mem_must_alloc((c->count + 1) * sizeof *c->addresses);
    for (size_t i = 0; i < c->count; i++) {
        c->addresses[i] = mem_strndup(o->addresses[i], strlen(o->addresses[i]));
    }
    c->addresses[c->count] = NULL;
    c->user = o->user != NULL ? mem_strndup(o->user, strlen(o->user)) : NULL;
    c->password = o->password != NULL ? mem_strndup(o->password, strlen(o->password)) : NULL;
    c->timeout_ms = o->timeout_ms != 0 ? o->timeout_ms : CLIENT_TIMEOUT_MS;
    int code = connect_any(c, e);
    if (code != 0) {
        client_close(c);
        return code;
    }
    *out = c;
    return 0;
}

void client_close(struct client *c)
{
    disconnect(c);
    client_addresses_free(c->addresses);
    mem_free(c->user);
    mem_free(c->password);
    mem_free(c);
}

const char *client_address(const struct client *c) { return c->addresses[c->at]; }

static void make_request_id(char out[33])
{
    unsigned char raw[16];
    int ok = RAND_bytes(raw, sizeof raw);
    ASSERT(ok == 1);
    for (size_t i = 0; i < sizeof raw; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", raw[i]);
    }
}

static bool worth_retrying(int code)
{
    return code == ERR_UNKNOWN || code == ERR_NOQUORUM || code == ERR_NOTREADY || code == ERR_BUSY;
}

/* One try on the present connection. ERR_IO: the connection broke. */
static int try_once(struct client *c, size_t argc, const char **argv, const size_t *lens,
                    uint64_t deadline, struct buf *json, struct error *e)
{
    uint64_t now = now_ms();
    uint64_t left = deadline > now ? deadline - now : 1;
    struct timeval limit = { (time_t)(left / 1000), (suseconds_t)(left % 1000 * 1000) };
    (void)redisSetTimeout(c->redis, limit);
    redisReply *r = redisCommandArgv(c->redis, (int)argc, argv, lens);
    if (r == NULL) {
        error_set(e, ERR_IO, "%s: %s", client_address(c), c->redis->errstr);
        disconnect(c);
        return ERR_IO;
    }
    int code = 0;
    if (r->type == REDIS_REPLY_ERROR) {
        code = take_error(r->str, r->len, e);
    } else if (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS) {
        buf_put(json, r->str, r->len);
    } else {
        code = error_set(e, ERR_INTERNAL, "%s answered with something that is no text",
                         client_address(c));
    }
    freeReplyObject(r);
    return code;
}

int client_call(struct client *c, size_t argc, const struct span *argv, struct buf *json,
                struct error *e)
{
    char request[33];
    make_request_id(request);
    const char **texts = mem_must_alloc((argc + 2) * sizeof *texts);
    size_t *lens = mem_must_alloc((argc + 2) * sizeof *lens);
    size_t total = 0;
    bool has_id = false;
    for (size_t i = 1; i < argc; i++) {
        has_id = has_id || span_is(argv[i], "--request");
    }
    for (size_t i = 0; i < argc; i++) {
        texts[total] = argv[i].data;
        lens[total++] = argv[i].len;
        if (i == 0 && !has_id) { /* before any `--`, which would end the options */
            texts[total] = "--request";
            lens[total++] = strlen("--request");
            texts[total] = request;
            lens[total++] = strlen(request);
        }
    }
    uint64_t deadline = now_ms() + c->timeout_ms;
    int code;
    while (true) {
        code = c->redis != NULL ? 0 : connect_any(c, e);
        if (code == 0) {
            code = try_once(c, total, texts, lens, deadline, json, e);
        }
        bool again = code == ERR_IO || worth_retrying(code);
        if (code == 0 || !again || now_ms() + RETRY_MS >= deadline) {
            break;
        }
        if (code == ERR_IO) {
            c->at = (c->at + 1) % c->count;
        }
        pause_ms(RETRY_MS);
    }
    mem_free(texts);
    mem_free(lens);
    return code;
}

int client_session(struct client *c, struct error *e)
{
    if (c->session) {
        return 0;
    }
    int code = c->redis != NULL ? 0 : connect_any(c, e);
    if (code != 0) {
        return code;
    }
    redisReply *r = redisCommand(c->redis, "USHER.SESSION");
    if (r == NULL) {
        code = error_set(e, ERR_IO, "%s: %s", client_address(c), c->redis->errstr);
        disconnect(c);
    } else if (r->type == REDIS_REPLY_ERROR) {
        code = take_error(r->str, r->len, e);
    }
    freeReplyObject(r);
    c->session = code == 0;
    return code;
}

static struct span element(const redisReply *r, size_t i)
{
    if (i >= r->elements || r->element[i]->str == NULL) {
        return span_make("", 0);
    }
    return span_make(r->element[i]->str, r->element[i]->len);
}

static int integer(const redisReply *r, size_t i)
{
    if (i >= r->elements) {
        return 1;
    }
    const redisReply *item = r->element[i];
    int64_t v = item->type == REDIS_REPLY_INTEGER ? item->integer : 1;
    if (item->str != NULL && sscanf(item->str, "%lld", (long long *)&v) != 1) {
        v = 1;
    }
    return (int)v;
}

/* Waits for more bytes, 100 ms at a time, so that an interrupt is noticed. */
static int wait_readable(struct client *c, const volatile sig_atomic_t *interrupted, bool *killed,
                         struct error *e)
{
    while (true) {
        struct pollfd p = { c->redis->fd, POLLIN, 0 };
        int n = poll(&p, 1, 100);
        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return error_set(e, ERR_IO, "%s: %s", client_address(c), strerror(errno));
        }
        if (interrupted != NULL && *interrupted != 0 && !*killed) {
            *killed = true;
            int written = 0;
            (void)redisAppendCommand(c->redis, "USHER.KILL");
            while (written == 0 && redisBufferWrite(c->redis, &written) == REDIS_OK) {
            }
        }
    }
}

/* Reads frames of a running statement until `done`. */
static int read_stream(struct client *c, client_output_cb cb, void *arg,
                       const volatile sig_atomic_t *interrupted, struct error *e,
                       struct buf *traceback)
{
    bool killed = false;
    while (true) {
        void *reply = NULL;
        if (redisGetReplyFromReader(c->redis, &reply) != REDIS_OK) {
            break;
        }
        if (reply == NULL) {
            if (wait_readable(c, interrupted, &killed, e) != 0 ||
                redisBufferRead(c->redis) != REDIS_OK) {
                break;
            }
            continue;
        }
        redisReply *r = reply;
        int status = -2;
        if (r->type == REDIS_REPLY_ERROR) {
            take_error(r->str, r->len, e);
            status = 1;
        } else if (span_is(element(r, 0), "done")) {
            struct span line = element(r, 2), trace = element(r, 3);
            status = integer(r, 1);
            if (line.len > 0) {
                take_error(line.data, line.len, e);
            }
            buf_put(traceback, trace.data, trace.len);
        } else if (r->elements > 1) {
            cb(arg, element(r, 0), element(r, 1), element(r, 2));
        }
        freeReplyObject(r);
        if (status != -2) {
            return status;
        }
    }
    error_set(e, ERR_IO, "the connection to %s broke: %s", client_address(c), c->redis->errstr);
    disconnect(c);
    return -1;
}

static int run_argv(struct client *c, size_t argc, const char **argv, const size_t *lens,
                    client_output_cb cb, void *arg, const volatile sig_atomic_t *interrupted,
                    struct error *e, struct buf *traceback)
{
    error_clear(e);
    if (client_session(c, e) != 0) {
        return -1;
    }
    (void)redisAppendCommandArgv(c->redis, (int)argc, argv, lens);
    int written = 0;
    while (written == 0) {
        if (redisBufferWrite(c->redis, &written) != REDIS_OK) {
            error_set(e, ERR_IO, "the connection to %s broke: %s", client_address(c),
                      c->redis->errstr);
            disconnect(c);
            return -1;
        }
    }
    return read_stream(c, cb, arg, interrupted, e, traceback);
}

int client_line(struct client *c, struct span line, client_output_cb cb, void *arg,
                const volatile sig_atomic_t *interrupted, struct error *e, struct buf *traceback)
{
    const char *argv[] = { "USHER.LINE", line.data };
    const size_t lens[] = { strlen("USHER.LINE"), line.len };
    return run_argv(c, 2, argv, lens, cb, arg, interrupted, e, traceback);
}

int client_run(struct client *c, struct span name, struct span text, size_t argc,
               const struct span *argv, client_output_cb cb, void *arg,
               const volatile sig_atomic_t *interrupted, struct error *e, struct buf *traceback)
{
    const char **texts = mem_must_alloc((argc + 3) * sizeof *texts);
    size_t *lens = mem_must_alloc((argc + 3) * sizeof *lens);
    texts[0] = "USHER.RUN", lens[0] = strlen("USHER.RUN");
    texts[1] = name.data, lens[1] = name.len;
    texts[2] = text.data, lens[2] = text.len;
    for (size_t i = 0; i < argc; i++) {
        texts[3 + i] = argv[i].data;
        lens[3 + i] = argv[i].len;
    }
    int status = run_argv(c, argc + 3, texts, lens, cb, arg, interrupted, e, traceback);
    mem_free(texts);
    mem_free(lens);
    return status;
}
