/* Bytes -> requests, with hiredis' reader and object functions of our own.
 *
 * The reader keeps the bytes and finds the items; our functions check every count and length
 * against the limits before anything is allocated for it, and copy the words of a request
 * into its slot (they move in the reader's buffer). A line that does not begin with '*' is an
 * inline command, split at blanks as Redis does it.
 *
 * How it fails: the first objection becomes one error line, then the connection ends (N4).
 * The reader by itself would wait for ever for `$536870913` and does not look at the CRLF
 * behind a bulk string: both are checked here. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "net/resp/conn.h"

/* "$16777216\r\n" and some; a header that goes on is not one. */
#define HEADER_BYTES_MAX 24
/* Inline commands are not discarded by the reader: it is made anew from time to time. */
#define INLINE_DISCARD   (16 * 1024)
/* The reader moves what is left of its buffer every 1,024 bytes: feeding it in pieces keeps
 * that linear. */
#define FEED_BYTES       (16 * 1024)

static void *object(const char *objection, const redisReadTask *task)
{
    struct conn *c = task->privdata;
    if (c->bad == NULL) {
        c->bad = objection;
    }
    return NULL; /* the reader stops with an error */
}

static size_t bytes_max(const struct conn *c)
{
    bool open = c->authenticated || access_count(c->server->o.access) == 0;
    return open ? REQUEST_BYTES_MAX : UNAUTHENTICATED_BYTES_MAX;
}

static bool argv_room(struct slot *x, size_t n)
{
    if (x->argv_cap < n) {
        size_t cap = n < 16 ? 16 : n;
        struct span *argv = mem_realloc(x->argv, cap * sizeof *argv);
        if (argv == NULL) {
            return false;
        }
        x->argv = argv;
        x->argv_cap = cap;
    }
    return true;
}

static void *create_array(const redisReadTask *task, int elements)
{
    struct conn *c = task->privdata;
    if (task->parent != NULL) {
        return object("a request is a flat array of bulk strings", task);
    }
    if (elements < 1 || elements > REQUEST_ARGS_MAX) {
        return object("a request has 1 to 4096 words", task);
    }
    struct slot *x = c->building != NULL ? c->building : slot_new(c->server);
    if (x == NULL) {
        return object("out of memory", task);
    }
    c->building = x;
    x->conn = c;
    buf_clear(&x->words);
    x->argc = (size_t)elements;
    c->taken = 0;
    return x;
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
    struct conn *c = task->privdata;
    struct slot *x = c->building;
    if (task->parent == NULL || task->type != REDIS_REPLY_STRING) {
        return object("a request is an array of bulk strings", task);
    }
    if (text[len] != '\r' || text[len + 1] != '\n') {
        return object("a bulk string must end with CR LF", task);
    }
    if (x->words.len + len > bytes_max(c)) {
        return object("the request is too large", task);
    }
    /* The count may lie: room is made as the words come. */
    if (!argv_room(x, c->taken + 1 > x->argv_cap ? (c->taken + 1) * 2 : c->taken + 1)) {
        return object("out of memory", task);
    }
    /* Offsets until all words are there: the buffer still moves. */
    x->argv[c->taken++] = span_make(NULL, len);
    buf_put(&x->words, text, len);
    return x->words.failed ? object("out of memory", task) : x;
}

static void *create_integer(const redisReadTask *task, long long v)
{
    (void)v;
    return object("a request is an array of bulk strings", task);
}

static void *create_nil(const redisReadTask *task)
{
    return object("a request has no nil in it", task);
}

static void free_object(void *p) { (void)p; } /* slots are ours */

static redisReplyObjectFunctions functions = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
    .freeObject = free_object,
};

int parse_new(struct conn *c)
{
    c->reader = redisReaderCreateWithFunctions(&functions);
    if (c->reader == NULL) {
        return ERR_NOMEM;
    }
    c->reader->privdata = c; /* the macro for it casts a pointer to int */
    return 0;
}

bool resp_conn_has_room(const struct conn *c)
{
    return !c->closing && !c->ending && c->auth == NULL && c->slots < PIPELINE_REQUESTS_MAX &&
           c->slots_bytes < PIPELINE_BYTES_MAX &&
           c->out.len + c->sending.len - c->sending_at < OUT_BYTES_SOFT;
}

static void protocol_error(struct conn *c, const char *text)
{
    struct error e;
    struct slot *x = slot_new(c->server);
    (void)error_set(&e, ERR_BADARG, "protocol error: %s", text);
    error_hint(&e, "the connection is closed");
    if (x == NULL) {
        resp_conn_kill(c);
        return;
    }
    slot_append(c, x);
    put_error(slot_out(x), &e);
    slot_done(x);
    resp_conn_end(c);
}

static void take(struct conn *c, struct slot *x)
{
    const char *p = x->words.len > 0 ? (const char *)x->words.data : "";
    for (size_t i = 0; i < x->argc; i++) {
        x->argv[i].data = x->argv[i].len > 0 ? p : "";
        p += x->argv[i].len;
    }
    c->partial_ms = 0;
    c->asked_ms = uv_now(c->server->o.loop);
    x->kind = SLOT_REQUEST;
    slot_append(c, x);
    verb_dispatch(c, x);
}

/* What the reader waits for, before the bytes have come. */
static const char *objection(const struct conn *c)
{
    const redisReader *r = c->reader;
    size_t left = r->len - r->pos;
    const char *p = r->buf + r->pos;
    if (r->ridx < 0 || r->rstack[r->ridx].type < 0 || left == 0) {
        return NULL;
    }
    int type = r->rstack[r->ridx].type;
    if (type != REDIS_REPLY_STRING && type != REDIS_REPLY_ARRAY) {
        return "a request is an array of bulk strings";
    }
    const char *end = memchr(p, '\n', left < HEADER_BYTES_MAX ? left : HEADER_BYTES_MAX);
    if (end == NULL) {
        return left >= HEADER_BYTES_MAX ? "a length is a short number" : NULL;
    }
    size_t n = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (size_t)(*p - '0');
    }
    size_t have = c->building != NULL ? c->building->words.len : 0;
    if (p + 1 != end || *p != '\r') {
        return "a length is a number and CR LF";
    }
    return type == REDIS_REPLY_STRING && have + n > bytes_max(c) ? "the request is too large"
                                                                 : NULL;
}

/* ---- Inline commands ------------------------------------------------------------- */

/* Splits a line at blanks; "..." and '...' keep them. False: quotes do not match. */
static bool split_line(struct slot *x, const char *p, const char *end)
{
    while (true) {
        while (p < end && (*p == ' ' || *p == '\t')) {
            p++;
        }
        if (p == end) {
            return true;
        }
        size_t from = x->words.len;
        char quote = *p == '"' || *p == '\'' ? *p++ : 0;
        while (p < end && (quote != 0 ? *p != quote : *p != ' ' && *p != '\t')) {
            if (quote == '"' && *p == '\\' && p + 1 < end) {
                p++;
            }
            buf_put_u8(&x->words, (uint8_t)*p++);
        }
        if (quote != 0 && p++ == end) {
            return false;
        }
        if (x->argc >= REQUEST_ARGS_MAX ||
            !argv_room(x, x->argc + 1 > x->argv_cap ? (x->argc + 1) * 2 : x->argc + 1)) {
            return false;
        }
        x->argv[x->argc++] = span_make(NULL, x->words.len - from);
    }
}

/* The reader never discards what it did not parse itself. */
static bool discard_inline(struct conn *c)
{
    redisReader *old = c->reader;
    if (old->pos < old->len && old->pos < INLINE_DISCARD) {
        return true;
    }
    if (parse_new(c) != 0) {
        c->reader = old;
        return false;
    }
    int rc = redisReaderFeed(c->reader, old->buf + old->pos, old->len - old->pos);
    redisReaderFree(old);
    return rc == REDIS_OK;
}

/* True when a line was taken; more may follow. */
static bool parse_inline(struct conn *c)
{
    redisReader *r = c->reader;
    const char *p = r->buf + r->pos;
    size_t left = r->len - r->pos;
    const char *end = memchr(p, '\n', left);
    if (end == NULL || (size_t)(end - p) > INLINE_BYTES_MAX) {
        if (left > INLINE_BYTES_MAX) {
            protocol_error(c, "the line is too long");
        }
        return false;
    }
    r->pos += (size_t)(end - p) + 1;
    const char *stop = end > p && end[-1] == '\r' ? end - 1 : end;
    struct slot *x = slot_new(c->server);
    if (x == NULL || memchr(p, 0, (size_t)(stop - p)) != NULL || !split_line(x, p, stop)) {
        if (x != NULL) {
            x->conn = c;
            slot_free(x);
        }
        protocol_error(c, "the line has unbalanced quotes, a NUL or too many words");
        return false;
    }
    x->conn = c;
    if (!discard_inline(c)) {
        slot_free(x);
        resp_conn_kill(c);
        return false;
    }
    if (x->argc == 0) {
        slot_free(x); /* an empty line is nothing, as with Redis */
        c->partial_ms = 0;
    } else {
        take(c, x);
    }
    return true;
}

/* ---- The loop ---------------------------------------------------------------------- */

bool parse_at_start(const struct conn *c)
{
    const redisReader *r = c->reader;
    return r->ridx == -1 || (r->ridx == 0 && r->rstack[0].type < 0);
}

/* True when a request was taken; more may follow. */
static bool parse_one(struct conn *c)
{
    redisReader *r = c->reader;
    void *reply = NULL;
    if (r->pos == r->len) {
        return false;
    }
    if (parse_at_start(c) && r->buf[r->pos] != '*') {
        return parse_inline(c);
    }
    if (redisReaderGetReply(r, &reply) != REDIS_OK) {
        protocol_error(c, c->bad != NULL ? c->bad : r->errstr);
        return false;
    }
    if (reply == NULL) {
        const char *bad = objection(c);
        if (bad != NULL) {
            protocol_error(c, bad);
        }
        return false;
    }
    struct slot *x = c->building;
    ASSERT(reply == x && c->taken == x->argc);
    c->building = NULL;
    take(c, x);
    return true;
}

void resp_conn_parse(struct conn *c)
{
    while (resp_conn_has_room(c) && parse_one(c)) {
    }
    if (resp_conn_has_room(c) && c->reader->pos < c->reader->len && c->partial_ms == 0) {
        c->partial_ms = uv_now(c->server->o.loop) + 1;
    }
}

void parse_feed(struct conn *c, const char *bytes, size_t len)
{
    for (size_t n; len > 0; bytes += n, len -= n) {
        n = len < FEED_BYTES ? len : FEED_BYTES;
        if (redisReaderFeed(c->reader, bytes, n) != REDIS_OK) {
            resp_conn_kill(c);
            return;
        }
        resp_conn_parse(c);
    }
}
