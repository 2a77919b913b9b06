/* Effects as bytes.
 *
 * One table lists the members each kind carries, and writing and reading both walk it,
 * so they cannot drift apart. An effect is
 *
 *   tag      1 byte
 *   present  varint, bit i set: the i-th member of the kind's list is there; a member
 *            that is zero or empty is left out, a flag is its bit alone
 *   members  in list order: numbers as varints, spans as length and bytes
 *
 * Places: varint (count << 3 | prices << 2 | types), then for each: event, number << 1
 * with the low bit for an area (whose count follows), price if any has one, and the
 * type as text (types 1) or number (types 2). A take of two seats is about 50 bytes.
 *
 *   1 decode(encode(f)) == f in every member the kind carries
 *   2 encode(decode(b)) == b but for overlong varints: a present member is not zero
 *   3 decoding asks for memory only in proportion to the bytes that are there */
#include "store/effect.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "store/store.h"

enum member {
    M_END,
    M_SPAN_FIRST,
    M_ID = M_SPAN_FIRST,
    M_ID2,
    M_ID3,
    M_TEXT,
    M_RULESET,
    M_CURRENCY,
    M_CUSTOMER,
    M_USER,
    M_REQUEST,
    M_SHA256,
    M_SPAN_LAST = M_SHA256,
    M_SET,
    M_NUMBER,
    M_VERSION,
    M_UNTIL,
    M_TIME,
    M_ARGS,
    M_PRICE,
    M_CODE,
    M_OPEN,
    M_UNJUDGED,
    M_OVERBOOK,
    M_LATE,
    M_PLACES,
};

/* The list of each kind, for ever: append only. Frequent members first, so that
 * `present` stays one byte. */
#define MEMBERS_MAX 14
static const uint8_t lists[][MEMBERS_MAX + 1] = {
    [EFFECT_CHART_PUT] = { M_ID, M_TEXT },
    [EFFECT_EVENT_PUT] = { M_ID, M_ID2, M_NUMBER, M_OPEN, M_TEXT, M_RULESET, M_CURRENCY },
    [EFFECT_EVENT_SET] = { M_ID, M_SET, M_OPEN, M_TEXT, M_RULESET, M_ID2, M_CURRENCY },
    [EFFECT_EVENT_REMOVE] = { M_ID },
    [EFFECT_TAKE] = { M_ID, M_CUSTOMER, M_PLACES, M_UNTIL, M_PRICE, M_VERSION, M_TEXT, M_UNJUDGED,
                      M_OVERBOOK, M_LATE },
    [EFFECT_CONFIRM] = { M_ID },
    [EFFECT_EXTEND] = { M_ID, M_UNTIL },
    [EFFECT_FINISH] = { M_ID, M_CODE, M_PLACES },
    [EFFECT_RESEAT] = { M_ID, M_PLACES, M_PRICE, M_VERSION, M_UNJUDGED, M_OVERBOOK, M_ID2 },
    [EFFECT_SPLIT] = { M_ID, M_ID2, M_PLACES, M_PRICE },
    [EFFECT_AMEND] = { M_ID, M_SET, M_TEXT, M_PRICE },
    [EFFECT_BLOCK] = { M_PLACES, M_TEXT },
    [EFFECT_UNBLOCK] = { M_PLACES },
    [EFFECT_KV_SET] = { M_ID, M_TEXT },
    [EFFECT_RESULT] = { M_USER, M_REQUEST, M_ID2, M_ID3, M_CODE, M_ARGS },
    [EFFECT_RESULT_DROP] = { M_TIME },
    [EFFECT_ORDER_DROP] = { M_ID },
    [EFFECT_FORGET] = { M_ID, M_ID2 },
    [EFFECT_POLICY_PUT] = { M_VERSION, M_USER, M_SHA256, M_TEXT },
    [EFFECT_RECORD_SET] = { M_ID, M_TEXT },
    [EFFECT_EMIT] = { M_ID, M_TEXT },
};
#define KINDS_END (sizeof lists / sizeof lists[0])

#define CODE_MAX 0xffff

enum { TYPES_NONE, TYPES_TEXT, TYPES_NUMBER };

static struct span *span_member(struct effect *f, enum member m)
{
    switch (m) {
    case M_ID: return &f->id;
    case M_ID2: return &f->id2;
    case M_ID3: return &f->id3;
    case M_TEXT: return &f->text;
    case M_RULESET: return &f->ruleset;
    case M_CURRENCY: return &f->currency;
    case M_CUSTOMER: return &f->customer;
    case M_USER: return &f->user;
    case M_REQUEST: return &f->request;
    default: return &f->sha256;
    }
}

static bool *flag_member(struct effect *f, enum member m)
{
    switch (m) {
    case M_OPEN: return &f->open;
    case M_UNJUDGED: return &f->unjudged;
    case M_OVERBOOK: return &f->overbook;
    case M_LATE: return &f->late;
    default: return NULL;
    }
}

/* ---- Writing ---------------------------------------------------------------- */

/* Spans are only read through the result, so casting const away is safe. */
static struct effect *readable(const struct effect *f) { return (struct effect *)(uintptr_t)f; }

static bool is_present(const struct effect *f, enum member m)
{
    switch (m) {
    case M_SET: return f->set != 0;
    case M_NUMBER: return f->number != 0;
    case M_VERSION: return f->version != 0;
    case M_UNTIL: return f->until_ms != 0;
    case M_TIME: return f->time_ms != 0;
    case M_ARGS: return f->args_digest != 0;
    case M_PRICE: return f->price != 0;
    case M_CODE: return f->code != 0;
    case M_PLACES: return f->places_count != 0;
    case M_OPEN:
    case M_UNJUDGED:
    case M_OVERBOOK:
    case M_LATE: return *flag_member(readable(f), m);
    default: return span_member(readable(f), m)->len != 0;
    }
}

static void put_places(const struct effect *f, struct buf *out)
{
    uint64_t types = f->types != NULL ? TYPES_TEXT : TYPES_NONE;
    uint64_t prices = 0;
    for (uint32_t i = 0; i < f->places_count; i++) {
        prices |= f->places[i].price != 0;
        if (types == TYPES_NONE && f->places[i].type != 0) {
            types = TYPES_NUMBER;
        }
    }
    buf_put_varint(out, (uint64_t)f->places_count << 3 | prices << 2 | types);
    for (uint32_t i = 0; i < f->places_count; i++) {
        const struct place *p = &f->places[i];
        bool area = (p->number & PLACE_AREA) != 0;
        buf_put_varint(out, p->event);
        buf_put_varint(out, (uint64_t)(p->number & ~PLACE_AREA) << 1 | area);
        if (area) {
            buf_put_varint(out, p->count);
        }
        if (prices) {
            buf_put_svarint(out, p->price);
        }
        if (types == TYPES_TEXT) {
            buf_put_span(out, f->types[i]);
        } else if (types == TYPES_NUMBER) {
            buf_put_varint(out, p->type);
        }
    }
}

static void put_member(const struct effect *f, enum member m, struct buf *out)
{
    switch (m) {
    case M_SET: buf_put_varint(out, f->set); break;
    case M_NUMBER: buf_put_varint(out, f->number); break;
    case M_VERSION: buf_put_varint(out, f->version); break;
    case M_UNTIL: buf_put_varint(out, f->until_ms); break;
    case M_TIME: buf_put_varint(out, f->time_ms); break;
    case M_ARGS: buf_put_u64(out, f->args_digest); break;
    case M_PRICE: buf_put_svarint(out, f->price); break;
    case M_CODE: buf_put_varint(out, (uint64_t)f->code); break;
    case M_PLACES: put_places(f, out); break;
    case M_OPEN:
    case M_UNJUDGED:
    case M_OVERBOOK:
    case M_LATE: break;
    default: buf_put_span(out, *span_member(readable(f), m)); break;
    }
}

void effect_encode(const struct effect *f, struct buf *out)
{
    ASSERT((size_t)f->kind < KINDS_END && lists[f->kind][0] != M_END);
    ASSERT(f->code >= 0 && f->code <= CODE_MAX);
    const uint8_t *list = lists[f->kind];
    unsigned present = 0;
    for (unsigned i = 0; list[i] != M_END; i++) {
        present |= (unsigned)is_present(f, (enum member)list[i]) << i;
    }
    buf_put_u8(out, (uint8_t)f->kind);
    buf_put_varint(out, present);
    for (unsigned i = 0; list[i] != M_END; i++) {
        if (present >> i & 1) {
            put_member(f, (enum member)list[i], out);
        }
    }
}

/* ---- Reading ---------------------------------------------------------------- */

static uint64_t get_at_most(struct reader *r, uint64_t max)
{
    uint64_t v = reader_varint(r);
    if (v > max) {
        r->failed = true;
    }
    return v;
}

/* A number that was worth writing: zero here is not what effect_encode makes. */
static uint64_t get_number(struct reader *r, uint64_t max)
{
    uint64_t v = get_at_most(r, max);
    if (v == 0) {
        r->failed = true;
    }
    return v;
}

static void get_place(struct reader *r, struct place *p, bool prices)
{
    p->event = (uint32_t)get_at_most(r, UINT32_MAX);
    uint64_t number = get_at_most(r, UINT32_MAX);
    bool area = (number & 1) != 0;
    p->number = (uint32_t)(number >> 1) | (area ? PLACE_AREA : 0);
    p->count = area ? (uint32_t)get_at_most(r, UINT32_MAX) : 1;
    p->price = prices ? reader_svarint(r) : 0;
    p->type = 0;
}

static void get_places(struct reader *r, struct effect *f, struct buf *scratch)
{
    uint64_t head = reader_varint(r);
    uint64_t count = head >> 3;
    unsigned types = head & 3;
    bool prices = (head & 4) != 0, any_price = false, any_type = types != TYPES_NUMBER;
    if (r->failed || types > TYPES_NUMBER || count == 0 || count > CHART_SEATS_MAX ||
        count > reader_left(r) / 2) {
        r->failed = true;
        return;
    }
    size_t places_bytes = sizeof(struct place) * count;
    size_t types_bytes = types == TYPES_TEXT ? sizeof(struct span) * count : 0;
    buf_clear(scratch);
    if (!buf_reserve(scratch, places_bytes + types_bytes)) {
        r->failed = true;
        return;
    }
    struct place *places = (struct place *)(void *)scratch->data;
    struct span *texts = (struct span *)(void *)(scratch->data + places_bytes);
    for (uint64_t i = 0; i < count && !r->failed; i++) {
        get_place(r, &places[i], prices);
        any_price |= places[i].price != 0;
        if (types == TYPES_TEXT) {
            texts[i] = reader_bytes(r);
        } else if (types == TYPES_NUMBER) {
            places[i].type = (uint32_t)get_at_most(r, UINT32_MAX);
            any_type |= places[i].type != 0;
        }
    }
    if (prices != any_price || !any_type) {
        r->failed = true;
    }
    f->places = places;
    f->types = types == TYPES_TEXT ? texts : NULL;
    f->places_count = (uint32_t)count;
}

static void get_member(struct reader *r, struct effect *f, enum member m, struct buf *scratch)
{
    switch (m) {
    case M_SET: f->set = (unsigned)get_number(r, 0xffff); break;
    case M_NUMBER: f->number = (uint32_t)get_number(r, UINT32_MAX); break;
    case M_VERSION: f->version = (uint32_t)get_number(r, UINT32_MAX); break;
    case M_UNTIL: f->until_ms = get_number(r, UINT64_MAX); break;
    case M_TIME: f->time_ms = get_number(r, UINT64_MAX); break;
    case M_CODE: f->code = (int)get_number(r, CODE_MAX); break;
    case M_PLACES: get_places(r, f, scratch); break;
    case M_ARGS:
        f->args_digest = reader_u64(r);
        r->failed |= f->args_digest == 0;
        break;
    case M_PRICE:
        f->price = reader_svarint(r);
        r->failed |= f->price == 0;
        break;
    case M_OPEN:
    case M_UNJUDGED:
    case M_OVERBOOK:
    case M_LATE: *flag_member(f, m) = true; break;
    default: {
        struct span s = reader_bytes(r);
        r->failed |= s.len == 0;
        *span_member(f, m) = s;
        break;
    }
    }
}

int effect_decode(struct reader *r, struct effect *f, struct buf *scratch, struct error *e)
{
    memset(f, 0, sizeof *f);
    uint8_t tag = reader_u8(r);
    uint64_t present = reader_varint(r);
    if (r->failed || tag >= KINDS_END || lists[tag][0] == M_END) {
        r->failed = true;
        return error_set(e, ERR_CORRUPT, "effect: unknown kind %u", tag);
    }
    const uint8_t *list = lists[tag];
    f->kind = (enum effect_kind)tag;
    unsigned i = 0;
    for (; list[i] != M_END && !r->failed; i++) {
        if (present >> i & 1) {
            get_member(r, f, (enum member)list[i], scratch);
        }
    }
    if (r->failed || present >> i != 0) {
        r->failed = true;
        return error_set(e, scratch->failed ? ERR_NOMEM : ERR_CORRUPT,
                         "effect: malformed (kind %u)", tag);
    }
    return 0;
}
