/* Forwarding (design.md 2.1): requests to the leader and answers back, packed.
 *
 * All requests that leave in one loop turn are one frame, and so are all answers to one
 * peer. A follower files each request in `slots` under a number and keeps it until its
 * answer has come; the leader carries the number and the peer in its item.
 *
 *   frame    = u8 kind, record ...
 *   REQUESTS   number user access roles left_ms id argc arg...     (varints, bytes, u8)
 *   ANSWERS    number verdict ...
 *              ANSWERED json | REFUSED code message hint fields | BACK
 *
 * How it fails. The link is down: the frame is dropped, its items are sent again by the
 * tick. No answer comes: sent again to the same leader under the same request id, at
 * growing intervals, until the deadline. The leader changes: everything is taken back and
 * sent to the new one. BACK (not decided there, that node does not lead): sent again by the
 * tick or when the leader changes. UNKNOWN from a leader that lost its office: sent again,
 * since the id settles what became of it. A frame that does not parse is logged, dropped.
 *
 * Invariants
 *   F1 a write is forwarded only under a request id, and always under the same
 *   F2 an answer counts only for the slot and generation it names, and only once
 *   F3 what a peer sent is never forwarded again (no loops): it is given BACK */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "service/service_impl.h"

#define LOG_MODULE "service"
#include "base/log.h"

enum { FRAME_REQUESTS = 1, FRAME_ANSWERS = 2 };
enum { ANSWERED, REFUSED, BACK };

#define SLOT_BITS 17 /* more slots than QUEUE_REQUESTS_MAX */
#define SLOTS_MAX (1u << SLOT_BITS)
#define SLOT_MASK (SLOTS_MAX - 1)
#define ROLES_MAX 64

/* ---- Slots ----------------------------------------------------------------- */

static bool slot_take(struct service *s, struct item *it)
{
    if (s->slots_used * 2 >= s->slots_count) {
        uint32_t more = s->slots_count == 0 ? 1024 : s->slots_count * 2;
        struct item **slots = more > SLOTS_MAX ? NULL : mem_realloc(s->slots, more * sizeof *slots);
        if (slots == NULL && s->slots_used == s->slots_count) {
            return false;
        }
        if (slots != NULL) {
            memset(slots + s->slots_count, 0, (more - s->slots_count) * sizeof *slots);
            s->slots = slots;
            s->slots_count = more;
        }
    }
    uint32_t at = s->slots_hint;
    while (s->slots[at & (s->slots_count - 1)] != NULL) {
        at++;
    }
    at &= s->slots_count - 1;
    s->slots_hint = at + 1;
    s->slots[at] = it;
    s->slots_used++;
    it->number = (++s->generation << SLOT_BITS) | at;
    return true;
}

void forward_drop(struct item *it)
{
    struct service *s = it->service;
    uint32_t at = (uint32_t)(it->number & SLOT_MASK);
    ASSERT(at < s->slots_count && s->slots[at] == it);
    s->slots[at] = NULL;
    s->slots_used--;
}

static struct item *slot_find(const struct service *s, uint64_t number)
{
    uint32_t at = (uint32_t)(number & SLOT_MASK);
    struct item *it = at < s->slots_count ? s->slots[at] : NULL;
    return it != NULL && it->number == number ? it : NULL;
}

/* ---- Sending requests ---------------------------------------------------------- */

static void put_request(struct service *s, struct item *it)
{
    struct buf *b = &s->out;
    size_t roles = 0;
    uint64_t now = service_now(s);
    if (b->len == 0) {
        s->flush++;
        buf_put_u8(b, FRAME_REQUESTS);
    }
    while (it->user.roles != NULL && it->user.roles[roles] != NULL && roles < ROLES_MAX) {
        roles++;
    }
    buf_put_varint(b, it->number);
    buf_put_span(b, it->user.name);
    buf_put_u8(b, (uint8_t)it->user.access);
    buf_put_varint(b, roles);
    for (size_t i = 0; i < roles; i++) {
        buf_put_bytes(b, it->user.roles[i], strlen(it->user.roles[i]) + 1);
    }
    buf_put_varint(b, it->deadline_ms > now ? it->deadline_ms - now : 1);
    buf_put_span(b, it->id);
    buf_put_varint(b, it->argc);
    for (size_t i = 0; i < it->argc; i++) {
        buf_put_span(b, it->argv[i]);
    }
    it->flush = s->flush;
    it->sent = true;
    it->resend_ms = now + ((uint64_t)RESEND_MS << (it->resends < 4 ? it->resends : 4));
    if (b->len >= FORWARD_BYTES_SOFT) {
        forward_flush(s);
    }
}

void forward_send(struct item *it)
{
    struct service *s = it->service;
    struct error e;
    if (!it->is_read) {
        item_make_id(it); /* F1 */
    }
    item_move(it, ITEM_FORWARDED);
    it->resends = 0;
    it->sent = false;
    if (!slot_take(s, it)) {
        (void)error_set(&e, ERR_BUSY, "too many requests wait for the leader; nothing was done");
        item_refuse(it, &e);
        item_free(it);
        return;
    }
    s->counters.forwarded++;
    put_request(s, it);
}

static void send_requests(struct service *s)
{
    uint64_t flush = s->flush;
    if (s->out.len == 0) {
        return;
    }
    bool ok = !s->out.failed && s->leader[0] != 0 && cluster_send(s->cluster, s->leader, &s->out);
    buf_clear(&s->out);
    s->out.failed = false;
    for (uint32_t i = 0; !ok && i < s->slots_count; i++) {
        if (s->slots[i] != NULL && s->slots[i]->flush == flush) {
            s->slots[i]->sent = false;
        }
    }
}

static void send_answers(struct service *s, struct peer *p)
{
    if (p->answers.len == 0) {
        return;
    }
    if (p->answers.failed || !cluster_send(s->cluster, p->address, &p->answers)) {
        log_debug("answers to %s were dropped: it will ask again", p->address);
    }
    buf_clear(&p->answers);
    p->answers.failed = false;
}

void forward_flush(struct service *s)
{
    send_requests(s);
    for (struct peer *p = s->peers; p != NULL; p = p->next) {
        send_answers(s, p);
    }
}

void forward_take_back(struct service *s)
{
    for (uint32_t i = 0; i < s->slots_count && s->slots_used > 0; i++) {
        struct item *it = s->slots[i];
        if (it == NULL) {
            continue;
        }
        forward_drop(it);
        if (it->answered) {
            item_free(it);
            continue;
        }
        it->maybe = it->maybe || (it->sent && !it->is_read);
        item_move(it, ITEM_QUEUED);
        items_push(&s->queue, it);
    }
    buf_clear(&s->out);
}

void forward_tick(struct service *s, uint64_t now)
{
    uint32_t left = s->slots_used;
    for (uint32_t i = 0; i < s->slots_count && left > 0; i++) {
        struct item *it = s->slots[i];
        if (it == NULL) {
            continue;
        }
        left--;
        if (it->answered) {
            forward_drop(it);
            item_free(it);
        } else if (s->leader[0] != 0 && (!it->sent || now >= it->resend_ms)) {
            it->maybe = it->maybe || (it->sent && !it->is_read);
            it->resends = it->sent && it->resends < 4 ? (uint8_t)(it->resends + 1) : it->resends;
            put_request(s, it);
        }
    }
}

/* ---- Answers of the leader -------------------------------------------------------- */

static void copy_text(char *out, size_t cap, struct span text)
{
    size_t n = text.len < cap - 1 ? text.len : cap - 1;
    memcpy(out, text.data, n);
    out[n] = 0;
}

struct record {
    uint64_t number;
    unsigned verdict;
    struct span json, code, message, hint, fields;
};

static bool read_answer(struct reader *r, struct record *a)
{
    a->number = reader_varint(r);
    a->verdict = reader_u8(r);
    switch (a->verdict) {
    case ANSWERED: a->json = reader_bytes(r); break;
    case REFUSED:
        a->code = reader_bytes(r);
        a->message = reader_bytes(r);
        a->hint = reader_bytes(r);
        a->fields = reader_bytes(r);
        break;
    case BACK: break;
    default: return false;
    }
    return !r->failed;
}

static void take_answer(struct service *s, const struct record *a)
{
    struct item *it = slot_find(s, a->number);
    if (it == NULL) {
        return; /* answered already, canceled, or of an earlier life (F2) */
    }
    int code = a->verdict == REFUSED ? error_from_wire(a->code.data, a->code.len) : 0;
    if (!it->answered && (a->verdict == BACK || code == ERR_UNKNOWN)) {
        it->maybe = it->maybe || (code == ERR_UNKNOWN && !it->is_read);
        it->sent = false; /* the tick or a new leader sends it again */
        return;
    }
    forward_drop(it);
    if (a->verdict == ANSWERED) {
        item_answer(it, 0, NULL, (struct span){ "", 0 }, a->json);
    } else if (!it->answered) {
        struct error e;
        e.code = code != 0 ? code : ERR_INTERNAL;
        copy_text(e.message, sizeof e.message, a->message);
        copy_text(e.hint, sizeof e.hint, a->hint);
        item_answer(it, e.code, &e, a->fields, (struct span){ "", 0 });
    }
    item_free(it);
}

/* ---- Requests of a peer -------------------------------------------------------------- */

static struct peer *peer_of(struct service *s, const char *address)
{
    struct peer *p = s->peers;
    while (p != NULL && strcmp(p->address, address) != 0) {
        p = p->next;
    }
    if (p == NULL) {
        size_t len = strlen(address);
        p = len < sizeof p->address ? mem_zalloc(sizeof *p) : NULL;
        if (p != NULL) {
            memcpy(p->address, address, len + 1);
            p->next = s->peers;
            s->peers = p;
        }
    }
    return p;
}

struct incoming {
    uint64_t number, left_ms;
    struct policy_user user;
    struct span id;
    size_t argc;
};

/* Reads one record; spans and roles are stored when the arrays are given. */
static bool read_request(struct reader *r, struct incoming *in, struct span *argv,
                         const char **roles, size_t *roles_count)
{
    in->number = reader_varint(r);
    in->user.name = reader_bytes(r);
    in->user.access = reader_u8(r);
    uint64_t n = reader_varint(r);
    if (n > ROLES_MAX || in->user.access > ACCESS_ADMIN) {
        return false;
    }
    for (uint64_t i = 0; i < n; i++) {
        struct span role = reader_bytes(r);
        if (role.len == 0 || role.data[role.len - 1] != 0) {
            return false;
        }
        if (roles != NULL) {
            roles[i] = role.data;
        }
    }
    *roles_count = (size_t)n;
    in->left_ms = reader_varint(r);
    in->id = reader_bytes(r);
    uint64_t argc = reader_varint(r);
    if (argc == 0 || argc > REQUEST_ARGS_MAX || in->id.len > ID_BYTES_MAX) {
        return false;
    }
    in->argc = (size_t)argc;
    for (size_t i = 0; i < in->argc; i++) {
        struct span arg = reader_bytes(r);
        if (argv != NULL) {
            argv[i] = arg;
        }
    }
    return !r->failed;
}

static void accept_request(struct service *s, struct peer *p, struct block *b,
                           const struct incoming *in, const struct span *argv)
{
    const struct command_def *def = registry_find(s->registry, argv[0]);
    struct item *it = s->count < QUEUE_REQUESTS_MAX ? item_new(s) : NULL;
    if (it == NULL) {
        return; /* the peer asks again later, under the same id */
    }
    uint64_t left = in->left_ms < REQUEST_DEADLINE_MS * 4 ? in->left_ms : REQUEST_DEADLINE_MS * 4;
    it->peer = p;
    it->block = b;
    b->refs++;
    it->argv = argv;
    it->argc = in->argc;
    it->user = in->user;
    it->id = in->id;
    it->number = in->number;
    it->deadline_ms = service_now(s) + left;
    it->is_read = def != NULL && def->read != READ_NONE;
    service_route(it);
}

static bool take_requests(struct service *s, struct peer *p, const uint8_t *data, size_t len)
{
    struct reader r;
    struct incoming in;
    size_t spans = 0, roles = 0, n, records = 0;
    reader_init(&r, data, len);
    while (reader_left(&r) > 0) {
        if (!read_request(&r, &in, NULL, NULL, &n)) {
            return false;
        }
        spans += in.argc;
        roles += n + 1;
        records++;
    }
    struct block *b = block_new(data, len, spans, roles);
    if (b == NULL) {
        return true; /* out of memory: the peer asks again */
    }
    struct span *argv = b->spans;
    const char **role = b->roles;
    reader_init(&r, b->bytes.data, b->bytes.len);
    for (; records > 0; records--) {
        bool ok = read_request(&r, &in, argv, role, &n);
        ASSERT(ok);
        role[n] = NULL;
        in.user.roles = role;
        accept_request(s, p, b, &in, argv);
        argv += in.argc;
        role += n + 1;
    }
    block_unref(b);
    return true;
}

void forward_frame(struct service *s, const struct transport_peer *peer, const uint8_t *data,
                   size_t len)
{
    struct peer *p = len > 0 ? peer_of(s, peer->address) : NULL;
    bool good = len == 0 || p != NULL;
    if (p != NULL && data[0] == FRAME_REQUESTS) {
        good = take_requests(s, p, data + 1, len - 1);
    } else if (p != NULL && data[0] == FRAME_ANSWERS) {
        struct reader r;
        reader_init(&r, data + 1, len - 1);
        while (good && reader_left(&r) > 0) {
            struct record a = { 0 };
            good = read_answer(&r, &a);
            if (good) {
                take_answer(s, &a);
            }
        }
    } else if (p != NULL) {
        good = false;
    }
    if (!good) {
        log_warn("a frame of %s makes no sense and is dropped", peer->address);
    }
    service_wake(s);
}

/* ---- Answers to a peer ------------------------------------------------------------------ */

/* Beside what waits in the same frame already. */
#define ANSWER_BYTES_MAX (FRAME_BYTES_MAX - 2 * FORWARD_BYTES_SOFT)

static struct buf *answer_buf(struct item *it)
{
    struct peer *p = it->peer;
    if (p->answers.len >= FORWARD_BYTES_SOFT) {
        send_answers(it->service, p);
    }
    if (p->answers.len == 0) {
        buf_put_u8(&p->answers, FRAME_ANSWERS);
    }
    buf_put_varint(&p->answers, it->number);
    return &p->answers;
}

void forward_answer(struct item *it, int code, const struct error *e, struct span fields,
                    struct span json)
{
    struct error own;
    if (code == 0 && json.len > ANSWER_BYTES_MAX) {
        code = error_set(&own, ERR_TOOBIG, "the answer has %zu MiB, more than nodes pass on",
                         json.len >> 20);
        error_hint(&own, "ask the leader itself, or with --local");
        e = &own;
        fields = (struct span){ "", 0 };
    }
    struct buf *b = answer_buf(it);
    if (code == 0) {
        buf_put_u8(b, ANSWERED);
        buf_put_span(b, json);
    } else {
        buf_put_u8(b, REFUSED);
        buf_put_span(b, span_of(error_wire(code)));
        buf_put_span(b, span_of(e->message));
        buf_put_span(b, span_of(e->hint));
        buf_put_span(b, fields);
    }
    service_wake(it->service);
}

void forward_bounce(struct item *it)
{
    if (!it->answered) {
        it->answered = true;
        buf_put_u8(answer_buf(it), BACK);
        service_wake(it->service);
    }
}

void forward_free(struct service *s)
{
    while (s->peers != NULL) {
        struct peer *next = s->peers->next;
        buf_free(&s->peers->answers);
        mem_free(s->peers);
        s->peers = next;
    }
    buf_free(&s->out);
    mem_free(s->slots);
}
