/* See client.h.
 *
 * Invariants: K1 a command is sent again only with the request id of its first try.
 * K2 codes that leave the outcome open or say "not now" (UNKNOWN, NOQUORUM, NOTREADY,
 * BUSY) are tried again until the deadline (NOQUORUM for CLIENT_QUORUM_MS), everything else is
 * final. A node command's answer always is. */
#include "console/client.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/address.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "console/client_impl.h"
#include "policy/command.h"

#define CLIENT_TIMEOUT_MS 30000
#define CONNECT_MS        2000
#define GREET_MS          3000

uint64_t client_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void client_pause_ms(unsigned ms) { (void)poll(NULL, 0, (int)ms); }

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

void client_disconnect(struct client *c)
{
    if (c->redis != NULL) {
        redisFree(c->redis);
        c->redis = NULL;
    }
    c->session = false;
    c->prompts = 0;
    c->stale_streams = 0;
    buf_clear(&c->prompt);
}

void client_next_address(struct client *c) { c->at = (c->at + 1) % c->count; }

/* NULL, or with err set, when the host cannot be reached. */
static redisContext *dial(const char *host, unsigned port)
{
    struct timeval limit = { CONNECT_MS / 1000, 0 };
    const char *other = address_fallback(host);
    redisContext *redis = redisConnectWithTimeout(host, (int)port, limit);
    if (redis != NULL && redis->err != 0 && other != NULL) {
        redisFree(redis);
        redis = redisConnectWithTimeout(other, (int)port, limit);
    }
    return redis;
}

bool client_listens(const char *address)
{
    char host[256], text[ADDRESS_PORT_BYTES];
    unsigned port = address_split(address, host, sizeof host, text);
    redisContext *redis = port != 0 ? dial(host, port) : NULL;
    bool listens = redis != NULL && redis->err == 0;
    if (redis != NULL) {
        redisFree(redis);
    }
    return listens;
}

int client_take_error(const char *line, size_t len, struct error *e)
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

static int authenticate(redisContext *redis, const char *address, const char *user,
                        const char *password, struct error *e)
{
    if (password == NULL) {
        return 0;
    }
    redisReply *r = user != NULL ? redisCommand(redis, "AUTH %s %s", user, password)
                                 : redisCommand(redis, "AUTH %s", password);
    int code = 0;
    if (r == NULL) {
        code = error_set(e, ERR_UNREACHABLE, "%s: %s", address, redis->errstr);
    } else if (r->type == REDIS_REPLY_ERROR) {
        code = client_take_error(r->str, r->len, e);
    }
    freeReplyObject(r);
    return code;
}

/* A node that takes connections but does not answer (it is paused, or its machine is) is as
 * good as none. Any answer will do. */
static int greet(redisContext *redis, const char *address, struct error *e)
{
    struct timeval limit = { GREET_MS / 1000, 0 }, none = { 0, 0 };
    (void)redisSetTimeout(redis, limit);
    redisReply *r = redisCommand(redis, "PING");
    if (r == NULL) {
        error_set(e, ERR_UNREACHABLE, "%s takes connections but does not answer: %s", address,
                  redis->errstr);
        error_hint(e, "look at its log, or ask another node with --at ADDR");
        return ERR_UNREACHABLE;
    }
    freeReplyObject(r);
    (void)redisSetTimeout(redis, none);
    return 0;
}

int client_dial(const char *address, const char *user, const char *password, redisContext **out,
                struct error *e)
{
    char host[256], text[ADDRESS_PORT_BYTES];
    unsigned port = address_split(address, host, sizeof host, text);
    if (port == 0) {
        error_set(e, ERR_BADARG, "`%s` is no address", address);
        error_hint(e, "write host:port, e.g. localhost:6000");
        return ERR_BADARG;
    }
    redisContext *redis = dial(host, port);
    if (redis == NULL || redis->err != 0) {
        error_set(e, ERR_UNREACHABLE, "cannot reach %s: %s", address,
                  redis != NULL ? redis->errstr : "out of memory");
        error_hint(e, "is the node running? start it with `usher node --id N`");
        if (redis != NULL) {
            redisFree(redis);
        }
        return ERR_UNREACHABLE;
    }
    int code = greet(redis, address, e);
    code = code != 0 ? code : authenticate(redis, address, user, password, e);
    if (code != 0) {
        redisFree(redis);
        return code;
    }
    *out = redis;
    return 0;
}

static int connect_one(struct client *c, struct error *e)
{
    client_disconnect(c);
    return client_dial(c->addresses[c->at], c->user, c->password, &c->redis, e);
}

int client_connect_any(struct client *c, struct error *e)
{
    int code = 0;
    for (size_t i = 0; i < c->count; i++) {
        code = connect_one(c, e);
        if (code != ERR_UNREACHABLE) {
            return code;
        }
        c->at = (c->at + 1) % c->count;
    }
    if (c->count > 1) {
        error_set(e, ERR_UNREACHABLE, "none of the %zu nodes can be reached (%s, ...)", c->count,
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
    int code = client_connect_any(c, e);
    if (code != 0) {
        client_close(c);
        return code;
    }
    *out = c;
    return 0;
}

void client_close(struct client *c)
{
    client_disconnect(c);
    buf_free(&c->prompt);
    client_addresses_free(c->addresses);
    mem_free(c->user);
    mem_free(c->password);
    mem_free(c);
}

const char *client_address(const struct client *c) { return c->addresses[c->at]; }

void client_make_id(char out[CLIENT_ID_BYTES])
{
    unsigned char raw[16];
    int ok = RAND_bytes(raw, sizeof raw);
    ASSERT(ok == 1);
    for (size_t i = 0; i < sizeof raw; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", raw[i]);
    }
}

bool client_worth_retrying(int code, uint64_t begun_ms)
{
    return code == ERR_UNKNOWN || code == ERR_NOTREADY || code == ERR_BUSY ||
           (code == ERR_NOQUORUM && client_now_ms() - begun_ms < CLIENT_QUORUM_MS);
}

int client_not_known(struct error *e)
{
    e->code = ERR_UNKNOWN;
    error_prefix(e, "whether this was done is not known");
    return ERR_UNKNOWN;
}

void client_hint_again(struct error *e, size_t argc, const char **texts, const size_t *lens)
{
    for (size_t i = 0; i < argc; i++) {
        struct span word = span_make(texts[i], lens[i]);
        if (command_names_request(word)) {
            bool apart = i + 1 < argc && span_is(word, "--request");
            struct span rest = apart ? span_make(texts[i + 1], lens[i + 1]) : span_of("");
            error_hint(e, "ask again with %.*s%s%.*s: it has one effect in all", (int)word.len,
                       word.data, apart ? " " : "", (int)rest.len, rest.data);
            return;
        }
    }
}

/* One try on the present connection. ERR_IO: the connection broke. */
static int try_once(struct client *c, size_t argc, const char **argv, const size_t *lens,
                    uint64_t deadline, struct buf *json, struct error *e)
{
    uint64_t now = client_now_ms();
    uint64_t left = deadline > now ? deadline - now : 1;
    struct timeval limit = { (time_t)(left / 1000), (suseconds_t)(left % 1000 * 1000) };
    (void)redisSetTimeout(c->redis, limit);
    redisReply *r = redisCommandArgv(c->redis, (int)argc, argv, lens);
    if (r == NULL) {
        error_set(e, ERR_IO, "%s: %s", client_address(c), c->redis->errstr);
        client_disconnect(c);
        return ERR_IO;
    }
    int code = 0;
    if (r->type == REDIS_REPLY_ERROR) {
        code = client_take_error(r->str, r->len, e);
    } else if (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS) {
        buf_put(json, r->str, r->len);
    } else {
        code = error_set(e, ERR_INTERNAL, "%s answered with something that is no text",
                         client_address(c));
    }
    freeReplyObject(r);
    return code;
}

size_t client_words(size_t argc, const struct span *argv, const char *id, const char ***texts,
                    size_t **lens)
{
    size_t total = 0;
    bool has_id = false;
    for (size_t i = 1; i < argc && !span_is(argv[i], "--"); i++) {
        has_id = has_id || command_names_request(argv[i]);
    }
    *texts = mem_must_alloc((argc + 3) * sizeof **texts);
    *lens = mem_must_alloc((argc + 3) * sizeof **lens);
    for (size_t i = 0; i < argc; i++) {
        (*texts)[total] = argv[i].data;
        (*lens)[total++] = argv[i].len;
        if (i == 0 && !has_id) { /* before any `--`, which would end the options */
            (*texts)[total] = "--request";
            (*lens)[total++] = strlen("--request");
            (*texts)[total] = id;
            (*lens)[total++] = strlen(id);
        }
    }
    return total;
}

int client_call(struct client *c, size_t argc, const struct span *argv, struct buf *json,
                struct error *e)
{
    char id[CLIENT_ID_BYTES];
    const char **texts;
    size_t *lens;
    client_make_id(id);
    size_t total = client_words(argc, argv, id, &texts, &lens);
    uint64_t begun = client_now_ms(), deadline = begun + c->timeout_ms;
    bool sent = false;
    int code;
    while (true) {
        code = c->redis != NULL ? 0 : client_connect_any(c, e);
        if (code == 0) {
            code = try_once(c, total, texts, lens, deadline, json, e);
            sent = sent || code == ERR_IO;
        }
        bool again = client_is_cut(code) || client_worth_retrying(code, begun);
        if (code == 0 || !again || client_now_ms() + CLIENT_RETRY_MS >= deadline) {
            break;
        }
        if (client_is_cut(code)) {
            client_next_address(c);
        }
        client_pause_ms(CLIENT_RETRY_MS);
    }
    if (sent && client_is_cut(code)) {
        code = client_not_known(e);
        client_hint_again(e, total, texts, lens);
    }
    mem_free(texts);
    mem_free(lens);
    return code;
}
