/* Events and charts.
 *
 * An event object stays while the event lives; what `set-event` changes is its body,
 * an immutable version but for the seats and areas it carries. A body made for a new
 * chart has seats of its own; any other shares those of the body before. Only the
 * current body's counts and digest live in the event object; they are parked in the
 * body while another one is current.
 *
 * A chart cell is counted by who needs it: the tree of charts (or the undo record
 * that took it out), every body, a snapshot being written. `used` counts current
 * bodies: a chart in use is immutable.
 *
 *   1 counts add up to the chart's seats (S2)
 *   2 seat_sum is the sum of seat_hash over all seats */
#include <string.h>

#include "store/store_impl.h"

static uint64_t id_hash(struct span id) { return hash64(id.data, id.len); }

static uint64_t event_hash_of(const void *arg, uint32_t n)
{
    return id_hash(event_at(arg, n)->pub.id);
}

static uint32_t *event_next_of(const void *arg, uint32_t n) { return &event_at(arg, n)->chain; }

bool events_init(struct store *s)
{
    s->next_event = 1;
    return table_init(&s->event_table, &s->slab, 1, event_hash_of, event_next_of, s);
}

struct event_object *event_at(const struct store *s, uint32_t number)
{
    return number < s->events_cap ? s->events[number] : NULL;
}

struct event_object *event_find(const struct store *s, struct span id)
{
    uint32_t n = table_first(&s->event_table, id_hash(id));
    while (n != 0 && !span_eq(s->events[n]->pub.id, id)) {
        n = s->events[n]->chain;
    }
    return n != 0 ? s->events[n] : NULL;
}

static bool grow_numbers(struct store *s, uint32_t number)
{
    if (number < s->events_cap) {
        return true;
    }
    uint32_t cap = s->events_cap == 0 ? 16 : s->events_cap;
    while (cap <= number) {
        cap += cap / 2;
    }
    struct event_object **events = slab_alloc(&s->slab, sizeof(void *) * cap);
    if (events == NULL) {
        return false;
    }
    memset(events, 0, sizeof(void *) * cap);
    if (s->events_cap > 0) {
        memcpy(events, s->events, sizeof(void *) * s->events_cap);
    }
    slab_free(&s->slab, s->events, sizeof(void *) * s->events_cap);
    s->events = events;
    s->events_cap = cap;
    return true;
}

/* ---- Charts ----------------------------------------------------------------------- */

struct chart_cell *chart_cell_find(const struct store *s, struct span id)
{
    return (struct chart_cell *)(void *)tree_find(s->charts, id);
}

/* Takes the chart over on success. */
struct chart_cell *chart_cell_make(struct store *s, struct span id, struct chart *chart)
{
    struct chart_cell *c = slab_alloc(&s->slab, sizeof *c + id.len);
    if (c == NULL) {
        return NULL;
    }
    memset(c, 0, sizeof *c);
    memcpy(c->id, id.data, id.len);
    c->node.key = span_make(c->id, id.len);
    c->chart = chart;
    c->refs = 1;
    struct span bytes = chart_encoded(chart);
    c->hash = hash_mix(id_hash(id), hash64_seed(bytes.data, bytes.len, SEED_CHART));
    s->slab.bytes += chart_bytes(chart);
    return c;
}

void chart_cell_link(struct store *s, struct chart_cell *c, bool there)
{
    if (there) {
        tree_insert(&s->charts, &c->node);
        s->sum += c->hash;
        s->charts_total++;
    } else {
        tree_remove(&s->charts, &c->node);
        s->sum -= c->hash;
        s->charts_total--;
    }
}

void chart_cell_unref(struct store *s, struct chart_cell *c)
{
    if (c != NULL && --c->refs == 0) {
        s->slab.bytes -= chart_bytes(c->chart);
        chart_free(c->chart);
        slab_free(&s->slab, c, sizeof *c + c->node.key.len);
    }
}

/* ---- Bodies ------------------------------------------------------------------------ */

static size_t body_bytes(const struct body *b)
{
    return sizeof *b + b->attributes_len + b->ruleset_len + b->currency_len;
}

struct body *body_make(struct store *s, struct chart_cell *chart, struct span attributes,
                       struct span ruleset, struct span currency, bool open)
{
    struct body *b = slab_alloc(&s->slab, sizeof *b + attributes.len + ruleset.len + currency.len);
    if (b == NULL) {
        return NULL;
    }
    memset(b, 0, sizeof *b);
    b->chart = chart;
    chart->refs++;
    b->open = open;
    b->attributes_len = (uint32_t)attributes.len;
    b->ruleset_len = (uint8_t)ruleset.len;
    b->currency_len = (uint8_t)currency.len;
    struct span parts[] = { attributes, ruleset, currency };
    char *p = b->text;
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].len > 0) {
            memcpy(p, parts[i].data, parts[i].len);
            p += parts[i].len;
        }
    }
    return b;
}

/* Seats all free, areas empty, in one block. */
bool body_alloc_seats(struct store *s, struct body *b)
{
    uint32_t seats = chart_seats(b->chart->chart), areas = chart_areas(b->chart->chart);
    size_t bytes = sizeof(struct area_use) * areas + sizeof(uint32_t) * seats;
    uint8_t *p = slab_alloc(&s->slab, bytes);
    if (p == NULL) {
        return false;
    }
    memset(p, 0, bytes);
    b->areas = (struct area_use *)(void *)p;
    b->seats = (uint32_t *)(void *)(p + sizeof(struct area_use) * areas);
    memset(b->counts, 0, sizeof b->counts);
    b->counts[SEAT_FREE] = seats;
    b->seat_sum = 0;
    return true;
}

/* keep: a body that goes on using the seats, or NULL. */
void body_free(struct store *s, struct body *b, const struct body *keep)
{
    if (b == NULL) {
        return;
    }
    if (b->areas != NULL && (keep == NULL || keep->areas != b->areas)) {
        slab_free(&s->slab, b->areas,
                  sizeof(struct area_use) * chart_areas(b->chart->chart) +
                      sizeof(uint32_t) * chart_seats(b->chart->chart));
    }
    chart_cell_unref(s, b->chart);
    slab_free(&s->slab, b, body_bytes(b));
}

static void show_body(struct event_object *ev)
{
    const struct body *b = ev->body;
    ev->pub.open = b->open;
    ev->pub.chart = b->chart->chart;
    ev->pub.chart_id = b->chart->node.key;
    ev->pub.attributes = span_make(b->text, b->attributes_len);
    ev->pub.ruleset = span_make(b->text + b->attributes_len, b->ruleset_len);
    ev->pub.currency = span_make(ev->pub.ruleset.data + b->ruleset_len, b->currency_len);
}

static uint64_t body_hash(const struct event_object *ev)
{
    const struct body *b = ev->body;
    uint64_t h = hash_mix(id_hash(ev->pub.id), ev->pub.number + ((uint64_t)SEED_EVENT << 56));
    h = hash_mix(h, b->chart->hash);
    h = hash_mix(h, hash64(b->text, body_bytes(b) - sizeof *b));
    return hash_mix(h, (uint64_t)b->attributes_len << 32 | (uint64_t)b->ruleset_len << 16 |
                           (uint64_t)b->currency_len << 8 | b->open);
}

/* The part of an event's hash that changes with its seats; cheap. */
uint64_t event_touch_hash(const struct event_object *ev)
{
    return hash_mix(ev->pub.index * 2 + ev->sold, ev->pub.number + ((uint64_t)SEED_EVENT << 48));
}

void event_swap_body(struct store *s, struct event_object *ev, struct body *to)
{
    struct body *from = ev->body;
    bool shared = from->areas == to->areas;
    from->chart->used--;
    to->chart->used++;
    s->sum -= ev->hash + ev->seat_sum;
    if (!shared) {
        memcpy(from->counts, ev->pub.counts, sizeof from->counts);
        from->seat_sum = ev->seat_sum;
        memcpy(ev->pub.counts, to->counts, sizeof to->counts);
        ev->seat_sum = to->seat_sum;
    }
    ev->body = to;
    show_body(ev);
    ev->hash = body_hash(ev);
    s->sum += ev->hash + ev->seat_sum;
}

void event_set_touch(struct store *s, struct event_object *ev, uint64_t index, bool sold)
{
    s->sum -= event_touch_hash(ev);
    ev->pub.index = index;
    ev->sold = sold;
    s->sum += event_touch_hash(ev);
}

/* ---- Events ------------------------------------------------------------------------ */

/* Without a body yet. Reserves its number. */
struct event_object *event_make(struct store *s, uint32_t number, struct span id)
{
    struct event_object *ev;
    if (!grow_numbers(s, number) || (ev = slab_alloc(&s->slab, sizeof *ev + id.len)) == NULL) {
        return NULL;
    }
    memset(ev, 0, sizeof *ev);
    memcpy(ev->id, id.data, id.len);
    ev->id_len = (uint8_t)id.len;
    ev->pub.id = span_make(ev->id, id.len);
    ev->pub.number = number;
    return ev;
}

void event_link(struct store *s, struct event_object *ev, bool there)
{
    uint32_t n = ev->pub.number;
    if (there) {
        if (ev->pub.chart == NULL) { /* for the first time */
            memcpy(ev->pub.counts, ev->body->counts, sizeof ev->pub.counts);
            ev->seat_sum = ev->body->seat_sum;
            show_body(ev);
            ev->hash = body_hash(ev);
            ev->prev = s->event_last;
        }
        s->events[n] = ev;
        table_insert(&s->event_table, id_hash(ev->pub.id), n);
        *(ev->prev != 0 ? &s->events[ev->prev]->next : &s->event_first) = n;
        *(ev->next != 0 ? &s->events[ev->next]->prev : &s->event_last) = n;
        ev->body->chart->used++;
        s->sum += ev->hash + ev->seat_sum + event_touch_hash(ev);
        s->events_total++;
    } else {
        *(ev->prev != 0 ? &s->events[ev->prev]->next : &s->event_first) = ev->next;
        *(ev->next != 0 ? &s->events[ev->next]->prev : &s->event_last) = ev->prev;
        table_remove(&s->event_table, id_hash(ev->pub.id), n);
        s->events[n] = NULL;
        ev->body->chart->used--;
        s->sum -= ev->hash + ev->seat_sum + event_touch_hash(ev);
        s->events_total--;
    }
}

void event_free(struct store *s, struct event_object *ev)
{
    if (ev == NULL) {
        return;
    }
    body_free(s, ev->body, NULL);
    slab_free(&s->slab, ev->extra, sizeof *ev->extra * ev->extra_cap);
    slab_free(&s->slab, ev, sizeof *ev + ev->id_len);
}

uint64_t event_live_places(const struct event_object *ev)
{
    uint64_t n = (uint64_t)ev->pub.counts[SEAT_HELD] + ev->pub.counts[SEAT_BOOKED];
    for (uint32_t i = 0; i < chart_areas(ev->pub.chart); i++) {
        n += (uint64_t)ev->body->areas[i].held + ev->body->areas[i].booked;
    }
    return n;
}

/* ---- Reading ------------------------------------------------------------------------ */

const struct event *store_event(const struct store *s, struct span id)
{
    const struct event_object *ev = event_find(s, id);
    return ev != NULL ? &ev->pub : NULL;
}

const struct event *store_event_number(const struct store *s, uint32_t number)
{
    const struct event_object *ev = event_at(s, number);
    return ev != NULL ? &ev->pub : NULL;
}

uint32_t store_next_event(const struct store *s) { return s->next_event; }

const struct event *store_event_next(const struct store *s, const struct event *after)
{
    uint32_t n =
        after == NULL ? s->event_first : ((const struct event_object *)(const void *)after)->next;
    return n != 0 ? &s->events[n]->pub : NULL;
}

uint32_t store_event_total(const struct store *s) { return s->events_total; }

const struct chart *store_chart(const struct store *s, struct span id)
{
    const struct chart_cell *c = chart_cell_find(s, id);
    return c != NULL ? c->chart : NULL;
}

void store_charts(const struct store *s, struct span after, bool (*cb)(void *arg, struct span id),
                  void *arg)
{
    const struct node *at = tree_after(s->charts, after, false);
    while (at != NULL && cb(arg, at->key)) {
        at = tree_after(s->charts, at->key, false);
    }
}
