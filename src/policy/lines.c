/* What an order costs, line by line. */
#include "policy/vm.h"

static bool same_line(const struct order_line *a, const struct order_line *b)
{
    return a->event == b->event && a->category == b->category && a->type == b->type &&
           a->each == b->each;
}

uint32_t order_lines(const struct store *s, const struct order *o,
                     struct order_line out[ORDER_LINES_MAX])
{
    uint32_t n = 0;
    const struct event *ev = NULL;
    for (uint32_t i = 0; i < o->places_count; i++) {
        const struct place *p = &o->places[i];
        if (ev == NULL || ev->number != p->event) {
            ev = store_event_number(s, p->event);
        }
        uint32_t count = p->count > 0 ? p->count : 1;
        struct order_line line = { p->event,
                                   ev != NULL ? place_category(ev, p->number) : 0,
                                   p->type,
                                   count,
                                   p->price / (int64_t)count,
                                   p->price };
        uint32_t k = 0;
        while (k < n && !same_line(&out[k], &line)) {
            k++;
        }
        if (k == n && n == ORDER_LINES_MAX) {
            k = n - 1;
            out[k].each = 0;
        }
        if (k == n) {
            out[n++] = line;
        } else {
            out[k].count += line.count;
            out[k].total += line.total;
        }
    }
    return n;
}

struct span order_currency(const struct store *s, const struct order *o)
{
    const struct event *ev = o->places_count > 0 ? store_event_number(s, o->places[0].event) : NULL;
    return ev != NULL ? ev->currency : span_make(NULL, 0);
}
