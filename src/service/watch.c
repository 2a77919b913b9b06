/* Watches: committed seat changes of an event as JSON (design.md 4.4), built once per event and
 * commit, and only while somebody watches.
 *
 *   {"event":"1","index":42,"changes":[{"seat":"A1","status":"held"},
 *                                      {"area":"FLOOR","status":"booked","count":3,"was":"held"}]}
 *   {"event":"1","index":43,"changes":[],"removed":true}     the last of an event
 *
 * Scripts follow the same, the requests that arrive here and the indices that commit (feed.c).
 * When a snapshot replaces the state, changes were not seen one by one: every watcher is told
 * so (index 0, no JSON) and begins anew. A watcher may end any watch from inside its callback:
 * dead ones are freed afterwards. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "service/service_impl.h"

static struct watch **bucket(struct service *s, struct span event)
{
    return event.len == 0 ? &s->watch_all
                          : &s->watches[hash64(event.data, event.len) % WATCH_BUCKETS];
}

struct watch *watch_add(struct service *s, struct watch **list, struct span event)
{
    struct watch *w = event.len <= ID_BYTES_MAX ? mem_zalloc(sizeof *w) : NULL;
    if (w == NULL) {
        return NULL;
    }
    w->service = s;
    w->id_len = (uint32_t)event.len;
    memcpy(w->id, event.data, event.len);
    w->at = list != NULL ? list : bucket(s, event);
    w->next = *w->at;
    *w->at = w;
    s->watch_count++;
    return w;
}

struct watch *service_watch(struct service *s, struct span event, watch_cb cb, void *arg)
{
    struct watch *w = watch_add(s, NULL, event);
    if (w != NULL) {
        w->cb = cb;
        w->arg = arg;
    }
    return w;
}

static void unlink_watch(struct watch *w)
{
    struct watch **at = w->at;
    while (*at != w) {
        at = &(*at)->next;
    }
    *at = w->next;
    mem_free(w);
}

void service_unwatch(struct watch *w)
{
    struct service *s = w->service;
    ASSERT(!w->dead);
    s->watch_count--;
    w->dead = true;
    if (s->telling) {
        s->watch_dead = true;
    } else {
        unlink_watch(w);
    }
}

#define LISTS (WATCH_BUCKETS + 3)

static struct watch **list_at(struct service *s, size_t i)
{
    struct watch **others[] = { &s->watch_all, &s->monitors, &s->commits };
    return i < WATCH_BUCKETS ? &s->watches[i] : others[i - WATCH_BUCKETS];
}

static void bury(struct service *s)
{
    for (size_t i = 0; i < LISTS; i++) {
        struct watch *next;
        for (struct watch *w = *list_at(s, i); w != NULL; w = next) {
            next = w->next;
            if (w->dead) {
                unlink_watch(w);
            }
        }
    }
    s->watch_dead = false;
}

static void tell_one(struct watch *w, struct span event, uint64_t index, struct span json)
{
    if (w->feed != NULL) {
        w->feed(w->arg, index, json);
    } else {
        w->cb(w->arg, event, index, json);
    }
}

void feed_tell(struct service *s, struct watch *list, uint64_t index, struct span json)
{
    bool outer = s->telling;
    s->telling = true;
    for (struct watch *w = list; w != NULL; w = w->next) {
        if (!w->dead) {
            tell_one(w, span_make(w->id, w->id_len), index, json);
        }
    }
    s->telling = outer;
    if (!outer && s->watch_dead) {
        bury(s);
    }
}

void watch_lost(struct service *s)
{
    for (size_t i = 0; i < LISTS; i++) {
        if (list_at(s, i) != &s->monitors) {
            feed_tell(s, *list_at(s, i), 0, span_make("", 0));
        }
    }
}

/* One change, copied: sorted by event, in their old order within it. */
struct told {
    uint32_t event, at, number, count;
    uint8_t from, to;
};

struct gather {
    struct service *s;
    struct buf all;   /* struct told */
    uint32_t event;   /* of the last change seen */
    bool any, wanted; /* ... and whether somebody watches it */
};

static bool matches(const struct watch *w, struct span event)
{
    return !w->dead && (w->id_len == 0 || span_eq(span_make(w->id, w->id_len), event));
}

static bool watched(struct service *s, struct span event)
{
    for (const struct watch *w = *bucket(s, event); w != NULL; w = w->next) {
        if (matches(w, event)) {
            return true;
        }
    }
    return s->watch_all != NULL;
}

static void on_change(void *arg, const struct change *c)
{
    struct gather *g = arg;
    if (c->event == NULL) {
        return;
    }
    if (!g->any || g->event != c->event->number) {
        g->any = true;
        g->event = c->event->number;
        g->wanted = watched(g->s, c->event->id);
    }
    if (g->wanted) {
        struct told t = { .event = g->event,
                          .at = (uint32_t)g->all.len,
                          .number = c->number,
                          .count = c->count,
                          .from = c->from,
                          .to = c->to };
        buf_put(&g->all, &t, sizeof t);
    }
}

static int by_event(const void *a, const void *b)
{
    const struct told *x = a, *y = b;
    if (x->event != y->event) {
        return x->event < y->event ? -1 : 1;
    }
    return x->at < y->at ? -1 : x->at > y->at;
}

/* The numbers are of the chart at that moment; the event may have another one by now. */
static bool in_chart(const struct chart *chart, const struct told *t)
{
    return (t->number & PLACE_AREA) != 0 ? (t->number & ~PLACE_AREA) < chart_areas(chart)
                                         : t->number < chart_seats(chart);
}

static void put_change(struct buf *b, const struct chart *chart, const struct told *t)
{
    if (!in_chart(chart, t)) {
        return;
    }
    json_put_comma(b);
    buf_put_u8(b, '{');
    if ((t->number & PLACE_AREA) != 0) {
        json_field_string(b, "area", chart_area(chart, t->number & ~PLACE_AREA).name);
        json_field_string(b, "status", span_of(seat_status_name(t->to)));
        json_field_int(b, "count", t->count);
        json_field_string(b, "was", span_of(seat_status_name(t->from)));
    } else {
        json_field_string(b, "seat", chart_label(chart, t->number));
        json_field_string(b, "status", span_of(seat_status_name(t->to)));
    }
    buf_put_u8(b, '}');
}

static void tell_list(struct watch *list, struct span event, uint64_t index, struct span json)
{
    for (struct watch *w = list; w != NULL; w = w->next) {
        if (matches(w, event)) {
            tell_one(w, event, index, json);
        }
    }
}

static void tell_all(struct service *s, struct span event, uint64_t index, const struct buf *json)
{
    if (!json->failed) {
        struct span text = span_make((const char *)json->data, json->len);
        tell_list(*bucket(s, event), event, index, text);
        tell_list(s->watch_all, event, index, text);
    }
}

struct removal {
    struct service *s;
    uint64_t index;
};

static void tell_removed(void *arg, const struct event *ev)
{
    const struct removal *r = arg;
    struct buf out = BUF_INIT;
    buf_put_u8(&out, '{');
    json_field_string(&out, "event", ev->id);
    json_field_int(&out, "index", (int64_t)r->index);
    buf_put_str(&out, ",\"changes\":[],\"removed\":true}");
    tell_all(r->s, ev->id, r->index, &out);
    buf_free(&out);
}

static void tell_event(struct service *s, uint64_t index, const struct told *t, size_t count)
{
    const struct event *ev = store_event_number(cluster_store(s->cluster), t->event);
    struct buf out = BUF_INIT;
    if (ev == NULL || ev->chart == NULL) {
        return; /* removed by the same entry */
    }
    buf_put_u8(&out, '{');
    json_field_string(&out, "event", ev->id);
    json_field_int(&out, "index", (int64_t)index);
    json_put_key(&out, "changes");
    buf_put_u8(&out, '[');
    for (size_t i = 0; i < count; i++) {
        put_change(&out, ev->chart, &t[i]);
    }
    buf_put_str(&out, "]}");
    tell_all(s, ev->id, index, &out);
    buf_free(&out);
}

void watch_tell(struct service *s, uint64_t index)
{
    struct gather g = { .s = s };
    store_changes(cluster_store(s->cluster), on_change, &g);
    size_t count = g.all.failed ? 0 : g.all.len / sizeof(struct told);
    /* malloc alignment suits struct told: the array starts the buffer. */
    struct told *all = (struct told *)(void *)g.all.data;
    if (count > 1) {
        qsort(all, count, sizeof *all, by_event);
    }
    s->telling = true;
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && all[to].event == all[from].event; to++) {
        }
        tell_event(s, index, all + from, to - from);
    }
    store_events_removed(cluster_store(s->cluster), tell_removed, &(struct removal){ s, index });
    s->telling = false;
    if (s->watch_dead) {
        bury(s);
    }
    buf_free(&g.all);
}

void watch_free_all(struct service *s)
{
    for (size_t i = 0; i < LISTS; i++) {
        struct watch **list = list_at(s, i);
        while (*list != NULL) {
            unlink_watch(*list);
        }
    }
}
