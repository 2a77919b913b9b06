/* Effects on charts, events and blocked seats.
 *
 * A new chart for an event must hold every taken and every blocked seat under the
 * same label, and every used area with room enough. The seats' words are carried over
 * by label into a new body, and all orders get versions with the new seat numbers. A
 * seat of an ended order that the new chart lacks leaves that order's list. */
#include <string.h>

#include "store/do_order.h"

/* ---- Charts ------------------------------------------------------------------------ */

int do_chart_put(struct store *s, const struct effect *f, struct error *e)
{
    int rc = check_id(f->id, "the chart's id", e);
    if (rc != 0) {
        return rc;
    }
    struct chart_cell *old = chart_cell_find(s, f->id);
    if (old != NULL && span_eq(chart_encoded(old->chart), f->text)) {
        return 0; /* the same once more */
    }
    if (old != NULL && old->used > 0) {
        return error_set(e, ERR_CONFLICT, "chart %.*s is in use and differs", (int)f->id.len,
                         f->id.data);
    }
    struct chart *chart;
    rc = chart_decode(f->text, &chart, e);
    if (rc != 0) {
        return rc == ERR_NOMEM ? rc : error_set(e, ERR_BADARG, "the chart is malformed");
    }
    struct chart_cell *cell = undo_reserve(s, 1) ? chart_cell_make(s, f->id, chart) : NULL;
    if (cell == NULL) {
        chart_free(chart);
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_CHART, .old.p = old, .new.p = cell });
    return 0;
}

static int find_chart(const struct store *s, struct span id, struct chart_cell **cell,
                      struct error *e)
{
    *cell = chart_cell_find(s, id);
    if (*cell == NULL) {
        return error_set(e, ERR_NOTFOUND, "chart %.*s does not exist", (int)id.len, id.data);
    }
    return 0;
}

/* ---- Events ------------------------------------------------------------------------ */

static int check_ruleset(struct span ruleset, struct error *e)
{
    return ruleset.len == 0 ? 0 : check_id(ruleset, "the ruleset", e);
}

static int check_currency(struct span currency, struct error *e)
{
    bool ok = currency.len == 0 || currency.len == 3;
    for (size_t i = 0; ok && i < currency.len; i++) {
        ok = currency.data[i] >= 'A' && currency.data[i] <= 'Z';
    }
    return ok ? 0 : error_set(e, ERR_BADARG, "a currency has three capital letters, like EUR");
}

int do_event_put(struct store *s, const struct effect *f, struct error *e)
{
    struct chart_cell *cell;
    int rc = check_id(f->id, "the event's id", e);
    rc = rc != 0 ? rc : check_json(f->text, "attributes", e);
    rc = rc != 0 ? rc : check_ruleset(f->ruleset, e);
    rc = rc != 0 ? rc : check_currency(f->currency, e);
    if (rc == 0 && event_find(s, f->id) != NULL) {
        rc = error_set(e, ERR_CONFLICT, "event %.*s exists already", (int)f->id.len, f->id.data);
    }
    if (rc == 0 && f->number != s->next_event) {
        rc = error_set(e, ERR_CONFLICT, "the next event's number is %u, not %u", s->next_event,
                       f->number);
    }
    if (rc == 0 && f->number >= EVENT_NUMBER_MAX) {
        rc =
            error_set(e, ERR_LIMIT, "no more than %u events in a cluster's life", EVENT_NUMBER_MAX);
    }
    rc = rc != 0 ? rc : find_chart(s, f->id2, &cell, e);
    if (rc != 0) {
        return rc;
    }
    struct event_object *ev = undo_reserve(s, 1) ? event_make(s, f->number, f->id) : NULL;
    if (ev == NULL) {
        return no_memory(e);
    }
    ev->pub.index = s->index;
    ev->body = body_make(s, cell, f->text, f->ruleset, f->currency, f->open);
    if (ev->body == NULL || !body_alloc_seats(s, ev->body)) {
        event_free(s, ev);
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_EVENT, .number = f->number, .new.p = ev });
    return 0;
}

int do_event_remove(struct store *s, const struct effect *f, struct error *e)
{
    struct event_object *ev = event_find(s, f->id);
    if (ev == NULL) {
        return error_set(e, ERR_NOTFOUND, "event %.*s does not exist", (int)f->id.len, f->id.data);
    }
    if (event_live_places(ev) > 0) {
        return error_set(e, ERR_CONFLICT, "event %.*s has %llu places in live orders",
                         (int)f->id.len, f->id.data, (unsigned long long)event_live_places(ev));
    }
    if (!undo_reserve(s, 1)) {
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_EVENT, .number = ev->pub.number, .old.p = ev });
    return 0;
}

/* ---- A new chart ---------------------------------------------------------------------- */

/* Number of the seat or area in the new chart, -1 when it is not there. */
static int64_t same_place(const struct chart *from, const struct chart *to, uint32_t number)
{
    if (number & PLACE_AREA) {
        struct span name = chart_area(from, number & ~PLACE_AREA).name;
        int64_t n = chart_find_area(to, name);
        return n >= 0 && span_eq(chart_area(to, (uint32_t)n).name, name) ? n | PLACE_AREA : -1;
    }
    struct span label = chart_label(from, number);
    int64_t n = chart_find(to, label);
    return n >= 0 && span_eq(chart_label(to, (uint32_t)n), label) ? n : -1;
}

static int carry_seats(const struct event_object *ev, struct body *to, struct error *e)
{
    const struct chart *old = ev->pub.chart;
    for (uint32_t i = 0; i < chart_seats(old); i++) {
        uint32_t word = ev->body->seats[i];
        if (word == 0) {
            continue;
        }
        int64_t n = same_place(old, to->chart->chart, i);
        if (n < 0) {
            struct span label = chart_label(old, i);
            return error_set(e, ERR_CONFLICT, "the new chart has no seat %.*s, which is %s",
                             (int)label.len, label.data, seat_status_name(word_status(word)));
        }
        to->seats[n] = word;
        to->counts[SEAT_FREE]--;
        to->counts[word_status(word)]++;
        to->seat_sum += seat_hash(ev->pub.number, (uint32_t)n, word);
    }
    return 0;
}

static int carry_areas(const struct event_object *ev, struct body *to, struct error *e)
{
    const struct chart *old = ev->pub.chart, *chart = to->chart->chart;
    for (uint32_t i = 0; i < chart_areas(old); i++) {
        struct area_use use = ev->body->areas[i];
        struct chart_area area = chart_area(old, i);
        if (use.held == 0 && use.booked == 0) {
            continue;
        }
        int64_t n = same_place(old, chart, i | PLACE_AREA);
        if (n < 0) {
            return error_set(e, ERR_CONFLICT, "the new chart has no area %.*s, which is in use",
                             (int)area.name.len, area.name.data);
        }
        uint32_t capacity = chart_area(chart, (uint32_t)n & ~PLACE_AREA).capacity;
        if ((uint64_t)use.held + use.booked > capacity && capacity < area.capacity) {
            return error_set(e, ERR_CONFLICT,
                             "area %.*s has %u places in the new chart; %u are "
                             "taken",
                             (int)area.name.len, area.name.data, capacity, use.held + use.booked);
        }
        to->areas[(uint32_t)n & ~PLACE_AREA] = use;
    }
    return 0;
}

static int renumber_order(struct store *s, uint32_t slot, uint32_t event, const struct chart *old,
                          const struct chart *chart, struct error *e)
{
    struct order *o = record_at(s, slot)->v;
    size_t bytes = sizeof(struct place) * o->places_count;
    struct place *places = slab_alloc(&s->slab, bytes);
    if (places == NULL) {
        return no_memory(e);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->places_count; i++) {
        places[n] = o->places[i];
        if (places[n].event == event) {
            int64_t number = same_place(old, chart, places[n].number);
            if (number < 0) {
                continue; /* only in an ended order: carry_seats has seen the live ones */
            }
            places[n].number = (uint32_t)number;
        }
        n++;
    }
    struct order *to = order_make(s, o, order_id(o), customer_of(o), places, n, order_metadata(o));
    slab_free(&s->slab, places, bytes);
    if (to == NULL || !undo_reserve(s, 1) || !order_reserve(s, to)) {
        order_free(s, to);
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = order_live(o) ? UNDO_RENUMBER : UNDO_ORDER,
                             .number = slot,
                             .old.p = o,
                             .new.p = to });
    return 0;
}

/* Orders that lead with another event first, from the end: one may leave the array. One
 * that loses its first place here moves over to another list, so go on before it. */
static int renumber_all(struct store *s, struct event_object *ev, const struct chart *old,
                        struct error *e)
{
    int rc = 0;
    const struct chart *chart = ev->pub.chart;
    for (uint32_t i = ev->extra_len; i-- > 0 && rc == 0;) {
        rc = renumber_order(s, ev->extra[i], ev->pub.number, old, chart, e);
    }
    for (uint32_t slot = ev->first, next; slot != 0 && rc == 0; slot = next) {
        next = record_at(s, slot)->event_next;
        rc = renumber_order(s, slot, ev->pub.number, old, chart, e);
    }
    return rc;
}

static int change_body(struct store *s, struct event_object *ev, struct body *to, struct error *e)
{
    const struct chart *old = ev->pub.chart;
    bool new_chart = to->chart != ev->body->chart;
    int rc = 0;
    if (!new_chart) {
        to->seats = ev->body->seats;
        to->areas = ev->body->areas;
    } else if (!body_alloc_seats(s, to)) {
        rc = no_memory(e);
    } else {
        rc = carry_seats(ev, to, e);
        rc = rc != 0 ? rc : carry_areas(ev, to, e);
    }
    if (rc == 0 && !undo_reserve(s, 1)) {
        rc = no_memory(e);
    }
    if (rc != 0) {
        body_free(s, to, ev->body);
        return rc;
    }
    change(s, (struct undo){
                  .kind = UNDO_BODY, .number = ev->pub.number, .old.p = ev->body, .new.p = to });
    return new_chart ? renumber_all(s, ev, old, e) : 0;
}

int do_event_set(struct store *s, const struct effect *f, struct error *e)
{
    struct event_object *ev = event_find(s, f->id);
    if (ev == NULL) {
        return error_set(e, ERR_NOTFOUND, "event %.*s does not exist", (int)f->id.len, f->id.data);
    }
    struct span attributes = f->set & SET_ATTRIBUTES ? f->text : ev->pub.attributes;
    struct span ruleset = f->set & SET_RULESET ? f->ruleset : ev->pub.ruleset;
    struct span currency = f->set & SET_CURRENCY ? f->currency : ev->pub.currency;
    struct chart_cell *cell = ev->body->chart;
    int rc = check_json(attributes, "attributes", e);
    rc = rc != 0 ? rc : check_ruleset(ruleset, e);
    rc = rc != 0 ? rc : check_currency(currency, e);
    if (rc == 0 && ev->sold && !span_eq(currency, ev->pub.currency)) {
        rc = error_set(e, ERR_CONFLICT, "the currency of event %.*s is fixed by its first order",
                       (int)f->id.len, f->id.data);
    }
    if (rc == 0 && (f->set & SET_CHART)) {
        rc = find_chart(s, f->id2, &cell, e);
    }
    if (rc != 0) {
        return rc;
    }
    struct body *to = body_make(s, cell, attributes, ruleset, currency,
                                f->set & SET_OPEN ? f->open : ev->pub.open);
    if (to == NULL) {
        return no_memory(e);
    }
    rc = change_body(s, ev, to, e);
    return rc != 0 ? rc : touch_event(s, ev, false, e);
}

/* ---- Block, unblock --------------------------------------------------------------------- */

static int find_seat(const struct store *s, const struct place *p, struct event_object **ev,
                     struct error *e)
{
    *ev = event_at(s, p->event);
    if (*ev == NULL) {
        return error_set(e, ERR_NOTFOUND, "no event has number %u", p->event);
    }
    if (p->number & PLACE_AREA) {
        return error_set(e, ERR_BADARG, "an area cannot be blocked; its capacity is the chart's");
    }
    if (p->number >= chart_seats((*ev)->pub.chart)) {
        return error_set(e, ERR_NOTFOUND, "event %.*s has no seat number %u",
                         (int)(*ev)->pub.id.len, (*ev)->pub.id.data, p->number);
    }
    return 0;
}

static int change_seat(struct store *s, struct event_object *ev, uint32_t seat, uint32_t word,
                       struct error *e)
{
    if (!undo_reserve(s, 1)) {
        return no_memory(e);
    }
    change(s, (struct undo){ .kind = UNDO_SEAT,
                             .number = ev->pub.number,
                             .word = seat,
                             .old.u = ev->body->seats[seat],
                             .new.u = word });
    return touch_event(s, ev, false, e);
}

int do_block(struct store *s, const struct effect *f, struct error *e)
{
    uint32_t reason;
    int rc = f->places_count == 0 ? error_set(e, ERR_BADARG, "no seat to block") : 0;
    rc = rc != 0 ? rc : intern_name(s, f->text, &reason, e);
    for (uint32_t i = 0; i < f->places_count && rc == 0; i++) {
        struct event_object *ev;
        uint32_t seat = f->places[i].number;
        rc = find_seat(s, &f->places[i], &ev, e);
        if (rc == 0 && ev->body->seats[seat] != 0) {
            rc = seat_refuse(ev, seat, ev->body->seats[seat], e);
        }
        if (rc == 0) {
            rc = change_seat(s, ev, seat, (uint32_t)SEAT_BLOCKED << WORD_SHIFT | reason, e);
        }
    }
    return rc;
}

int do_unblock(struct store *s, const struct effect *f, struct error *e)
{
    int rc = f->places_count == 0 ? error_set(e, ERR_BADARG, "no seat to unblock") : 0;
    for (uint32_t i = 0; i < f->places_count && rc == 0; i++) {
        struct event_object *ev;
        uint32_t seat = f->places[i].number;
        rc = find_seat(s, &f->places[i], &ev, e);
        if (rc == 0 && word_status(ev->body->seats[seat]) != SEAT_BLOCKED) {
            struct span label = chart_label(ev->pub.chart, seat), id = ev->pub.id;
            rc = error_set(e, ERR_CONFLICT, "seat %.*s of event %.*s is %s, not blocked",
                           (int)label.len, label.data, (int)id.len, id.data,
                           seat_status_name(word_status(ev->body->seats[seat])));
        }
        if (rc == 0) {
            rc = change_seat(s, ev, seat, 0, e);
        }
    }
    return rc;
}
