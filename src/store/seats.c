/* Seats: one word of 4 bytes each, per event.
 *
 *   free     0
 *   taken    status << 30 | slot of the order
 *   blocked  status << 30 | name id of the reason (0: none given)
 *
 * Every change goes through seat_set, which keeps the counts and the digest. Checking
 * a party marks its seats while it looks (a seat named twice meets its own mark) and
 * takes the marks off again, so the check costs no memory and no sorting. */
#include <string.h>

#include "store/store_impl.h"

#define WORD_MARK (((uint32_t)SEAT_BLOCKED << WORD_SHIFT) | WORD_MASK)

static const char *const status_names[] = { "free", "held", "booked", "blocked" };

const char *seat_status_name(int status)
{
    return status >= 0 && status < SEAT_STATUS_COUNT ? status_names[status] : "unknown";
}

uint64_t seat_hash(uint32_t event, uint32_t seat, uint32_t word)
{
    if (word == 0) {
        return 0;
    }
    uint64_t state = (uint64_t)SEED_SEAT << 56 | (uint64_t)word_status(word) << 32;
    if (word_status(word) == SEAT_BLOCKED) {
        state |= word & WORD_MASK;
    }
    return hash_mix((uint64_t)event << 32 | seat, state);
}

void seat_set(struct store *s, struct event_object *ev, uint32_t seat, uint32_t word)
{
    uint32_t *at = &ev->body->seats[seat];
    uint64_t delta = seat_hash(ev->pub.number, seat, word) - seat_hash(ev->pub.number, seat, *at);
    ev->pub.counts[word_status(*at)]--;
    ev->pub.counts[word_status(word)]++;
    ev->seat_sum += delta;
    s->sum += delta;
    *at = word;
}

int seat_refuse(const struct event_object *ev, uint32_t seat, uint32_t word, struct error *e)
{
    struct span label = chart_label(ev->pub.chart, seat);
    return error_set(e, ERR_TAKEN, "seat %.*s of event %.*s is %s", (int)label.len, label.data,
                     (int)ev->pub.id.len, ev->pub.id.data, seat_status_name(word_status(word)));
}

static int check_seat(struct store *s, struct event_object *ev, const struct place *p, uint32_t i,
                      uint32_t slot, struct error *e)
{
    struct span id = ev->pub.id;
    if (p->number >= chart_seats(ev->pub.chart)) {
        return error_set(e, ERR_NOTFOUND, "event %.*s has no seat number %u", (int)id.len, id.data,
                         p->number);
    }
    if (p->count != 1) {
        return error_set(e, ERR_BADARG, "a numbered seat is taken once, not %u times", p->count);
    }
    uint32_t word = ev->body->seats[p->number];
    if (word == WORD_MARK) {
        struct span label = chart_label(ev->pub.chart, p->number);
        return error_set(e, ERR_BADARG, "seat %.*s of event %.*s is named twice", (int)label.len,
                         label.data, (int)id.len, id.data);
    }
    bool own = slot != 0 && word_status(word) != SEAT_BLOCKED && (word & WORD_MASK) == slot;
    if (word != 0 && !own) {
        return seat_refuse(ev, p->number, word, e);
    }
    s->scratch[i] = word;
    ev->body->seats[p->number] = WORD_MARK;
    return 0;
}

/* Places of the i-th one's area that the same party names before it (of another ticket type). */
static uint32_t named_before(const struct place *places, uint32_t i)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < i; k++) {
        bool same = places[k].event == places[i].event && places[k].number == places[i].number;
        n += same ? places[k].count : 0;
    }
    return n;
}

static int check_area(struct event_object *ev, const struct place *places, uint32_t i,
                      bool overbook, struct error *e)
{
    const struct place *p = &places[i];
    struct span id = ev->pub.id;
    uint32_t area = p->number & ~PLACE_AREA;
    if (area >= chart_areas(ev->pub.chart)) {
        return error_set(e, ERR_NOTFOUND, "event %.*s has no area number %u", (int)id.len, id.data,
                         area);
    }
    if (p->count == 0 || p->count > ORDER_SEATS_MAX) {
        return error_set(e, ERR_BADARG, "%u places of an area: must be 1 to %d", p->count,
                         ORDER_SEATS_MAX);
    }
    struct chart_area info = chart_area(ev->pub.chart, area);
    struct area_use *use = &ev->body->areas[area];
    uint64_t used = (uint64_t)use->held + use->booked;
    if (used + p->count > (overbook ? (uint64_t)UINT32_MAX / 2 : info.capacity)) {
        uint64_t others = used - named_before(places, i);
        uint64_t left = others < info.capacity ? info.capacity - others : 0;
        return error_set(e, ERR_TAKEN, "area %.*s of event %.*s has %llu places left",
                         (int)info.name.len, info.name.data, (int)id.len, id.data,
                         (unsigned long long)left);
    }
    use->held += p->count;
    return 0;
}

/* Takes an order's area places out of the counts, or puts them back. */
static void own_areas(struct store *s, uint32_t slot, bool out)
{
    const struct order *o = slot != 0 ? record_at(s, slot)->v : NULL;
    for (uint32_t i = 0; o != NULL && order_live(o) && i < o->places_count; i++) {
        const struct place *p = &o->places[i];
        if (p->number & PLACE_AREA) {
            struct area_use *use = &event_at(s, p->event)->body->areas[p->number & ~PLACE_AREA];
            uint32_t *count = o->status == ORDER_HELD ? &use->held : &use->booked;
            *count = out ? *count - p->count : *count + p->count;
        }
    }
}

int places_check(struct store *s, uint32_t slot, const struct place *places, uint32_t count,
                 bool overbook, struct error *e)
{
    if (count == 0) {
        return error_set(e, ERR_BADARG, "an order needs at least one seat");
    }
    if (count > ORDER_SEATS_MAX) {
        return error_set(e, ERR_TOOBIG, "%u places in one order; at most %d", count,
                         ORDER_SEATS_MAX);
    }
    own_areas(s, slot, true);
    int rc = 0;
    uint32_t done = 0;
    uint64_t total = 0;
    for (; done < count && rc == 0; done++) {
        const struct place *p = &places[done];
        struct event_object *ev = event_at(s, p->event);
        if (ev == NULL) {
            rc = error_set(e, ERR_NOTFOUND, "no event has number %u", p->event);
        } else if (p->number & PLACE_AREA) {
            rc = check_area(ev, places, done, overbook, e);
        } else {
            rc = check_seat(s, ev, p, done, slot, e);
        }
        total += p->count;
    }
    if (rc != 0) {
        done--; /* the refused one left no mark */
    } else if (total > ORDER_SEATS_MAX) {
        rc = error_set(e, ERR_TOOBIG, "%llu places in one order; at most %d",
                       (unsigned long long)total, ORDER_SEATS_MAX);
    }
    while (done-- > 0) {
        const struct place *p = &places[done];
        struct body *b = event_at(s, p->event)->body;
        if (p->number & PLACE_AREA) {
            b->areas[p->number & ~PLACE_AREA].held -= p->count;
        } else {
            b->seats[p->number] = s->scratch[done];
        }
    }
    own_areas(s, slot, false);
    return rc;
}

void places_apply(struct store *s, uint32_t slot, const struct order *o, bool take)
{
    bool booked = o->status == ORDER_BOOKED;
    uint32_t word = (uint32_t)(booked ? SEAT_BOOKED : SEAT_HELD) << WORD_SHIFT | slot;
    uint32_t customer = customer_of(o)->number;
    struct event_object *ev = NULL;
    int64_t run = 0;
    for (uint32_t i = 0; i < o->places_count; i++) {
        const struct place *p = &o->places[i];
        if (ev == NULL || ev->pub.number != p->event) {
            if (run != 0) {
                pair_add(s, ev->pub.number, customer, booked, run);
            }
            run = 0;
            ev = event_at(s, p->event);
            ASSERT(ev != NULL);
        }
        if (p->number & PLACE_AREA) {
            struct area_use *use = &ev->body->areas[p->number & ~PLACE_AREA];
            uint32_t *count = booked ? &use->booked : &use->held;
            *count = take ? *count + p->count : *count - p->count;
        } else {
            seat_set(s, ev, p->number, take ? word : 0);
        }
        run += take ? (int64_t)p->count : -(int64_t)p->count;
    }
    if (run != 0) {
        pair_add(s, ev->pub.number, customer, booked, run);
    }
}

/* ---- Reading --------------------------------------------------------------------- */

static const struct event_object *object_of(const struct event *ev)
{
    return (const struct event_object *)(const void *)ev;
}

enum seat_status store_seat(const struct store *s, const struct event *ev, uint32_t seat)
{
    (void)s;
    ASSERT(seat < chart_seats(ev->chart));
    return word_status(object_of(ev)->body->seats[seat]);
}

const struct order *store_seat_order(const struct store *s, const struct event *ev, uint32_t seat)
{
    ASSERT(seat < chart_seats(ev->chart));
    uint32_t word = object_of(ev)->body->seats[seat];
    if (word == 0 || word_status(word) == SEAT_BLOCKED) {
        return NULL;
    }
    return record_at(s, word & WORD_MASK)->v;
}

struct span store_seat_reason(const struct store *s, const struct event *ev, uint32_t seat)
{
    ASSERT(seat < chart_seats(ev->chart));
    uint32_t word = object_of(ev)->body->seats[seat];
    return word_status(word) == SEAT_BLOCKED ? store_name(s, word & WORD_MASK) : span_make("", 0);
}

struct area_use store_area(const struct store *s, const struct event *ev, uint32_t area)
{
    (void)s;
    ASSERT(area < chart_areas(ev->chart));
    return object_of(ev)->body->areas[area];
}

void store_seats(const struct store *s, const struct event *ev, uint8_t *out)
{
    (void)s;
    const uint32_t *words = object_of(ev)->body->seats;
    for (uint32_t i = 0, n = chart_seats(ev->chart); i < n; i++) {
        out[i] = (uint8_t)word_status(words[i]);
    }
}
