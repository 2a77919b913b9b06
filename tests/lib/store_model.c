/* See store_model.h. Written from the documents, not from the store: whoever changes
 * what an effect means changes it here once more, by hand. */
#include "lib/store_model_parts.h"

#include <string.h>

const struct m_layout m_layouts[M_LAYOUTS] = {
    { 8, 1, { 0, 1, 2, 3, 4, 5, 6, 7 }, { 0 }, { 6 } },
    { 10, 2, { 4, 5, 6, 7, 0, 1, 2, 3, 8, 9 }, { 1, 0 }, { 5, 4 } }, /* other numbers */
    { 5, 1, { 0, 1, 2, 3, 4 }, { 0 }, { 3 } },                       /* less of it */
    { 12, 2, { 0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11 }, { 0, 1 }, { 9, 9 } },
    { 3, 0, { 9, 10, 11 }, { 0 }, { 0 } }, /* nothing shared */
};

int m_category(const struct m_layout *l, uint32_t number)
{
    return number & PLACE_AREA ? 1 : l->label[number] % 2;
}

const struct m_event *model_event(const struct model *m, uint32_t number)
{
    for (int i = 0; i < M_EVENTS; i++) {
        if (m->events[i].used && m->events[i].number == number) {
            return &m->events[i];
        }
    }
    return NULL;
}

struct m_event *model_event_of(struct model *m, uint32_t number)
{
    return (struct m_event *)(uintptr_t)model_event(m, number);
}

enum seat_status model_seat_without(const struct model *m, const struct m_event *ev, uint32_t seat,
                                    int skip, int *order)
{
    for (int i = 0; i < M_ORDERS; i++) {
        const struct m_order *o = &m->orders[i];
        for (int j = 0; i != skip && model_live(o) && j < o->places_count; j++) {
            if (o->places[j].event == ev->number && o->places[j].number == seat) {
                *order = i;
                return o->status == ORDER_HELD ? SEAT_HELD : SEAT_BOOKED;
            }
        }
    }
    *order = -1;
    return ev->blocked[seat] != 0 ? SEAT_BLOCKED : SEAT_FREE;
}

enum seat_status model_seat(const struct model *m, const struct m_event *ev, uint32_t seat,
                            int *order)
{
    return model_seat_without(m, ev, seat, -1, order);
}

struct area_use model_area_without(const struct model *m, const struct m_event *ev, uint32_t area,
                                   int skip)
{
    struct area_use use = { 0, 0 };
    for (int i = 0; i < M_ORDERS; i++) {
        const struct m_order *o = &m->orders[i];
        for (int j = 0; i != skip && model_live(o) && j < o->places_count; j++) {
            if (o->places[j].event == ev->number && o->places[j].number == (PLACE_AREA | area)) {
                *(o->status == ORDER_HELD ? &use.held : &use.booked) += o->places[j].count;
            }
        }
    }
    return use;
}

struct area_use model_area(const struct model *m, const struct m_event *ev, uint32_t area)
{
    return model_area_without(m, ev, area, -1);
}

void model_touch(struct model *m, const struct m_place *places, uint32_t count, bool sold)
{
    for (uint32_t i = 0; i < count; i++) {
        struct m_event *ev = model_event_of(m, places[i].event);
        if (ev != NULL) {
            ev->index = m->index;
            ev->sold |= sold;
        }
    }
}

/* ---- Charts and events ------------------------------------------------------------ */

static uint64_t chart_put(struct model *m, const struct m_op *op)
{
    bool used = false;
    for (int i = 0; i < M_EVENTS; i++) {
        used |= m->events[i].used && m->events[i].chart == op->chart;
    }
    if (used && m->charts[op->chart] != op->layout + 1) {
        return BIT(ERR_CONFLICT);
    }
    m->charts[op->chart] = (uint8_t)(op->layout + 1);
    return 0;
}

static uint64_t event_put(struct model *m, const struct m_op *op)
{
    struct m_event *ev = &m->events[op->event];
    uint64_t faults = ev->used || op->number != m->next_event ? BIT(ERR_CONFLICT) : 0;
    faults |= m->charts[op->chart] == 0 ? BIT(ERR_NOTFOUND) : 0;
    if (faults != 0) {
        return faults;
    }
    memset(ev, 0, sizeof *ev);
    ev->used = true;
    ev->open = op->open;
    ev->chart = op->chart;
    ev->layout = (uint8_t)(m->charts[op->chart] - 1);
    ev->attributes = op->text;
    ev->ruleset = op->ruleset;
    ev->currency = op->currency;
    ev->number = m->next_event++;
    ev->index = m->index;
    return 0;
}

/* Number of the same place in another layout, -1 when it has none. */
static int64_t same_place(const struct m_layout *from, const struct m_layout *to, uint32_t number)
{
    if (number & PLACE_AREA) {
        for (uint32_t i = 0; i < to->areas; i++) {
            if (to->area[i] == from->area[number & ~PLACE_AREA]) {
                return PLACE_AREA | i;
            }
        }
        return -1;
    }
    for (uint32_t i = 0; i < to->seats; i++) {
        if (to->label[i] == from->label[number]) {
            return i;
        }
    }
    return -1;
}

static bool chart_fits(const struct model *m, const struct m_event *ev, const struct m_layout *to)
{
    const struct m_layout *from = &m_layouts[ev->layout];
    int order;
    for (uint32_t i = 0; i < from->seats; i++) {
        if (model_seat(m, ev, i, &order) != SEAT_FREE && same_place(from, to, i) < 0) {
            return false;
        }
    }
    for (uint32_t i = 0; i < from->areas; i++) {
        struct area_use use = model_area(m, ev, i);
        int64_t n = same_place(from, to, PLACE_AREA | i);
        uint32_t used = use.held + use.booked;
        if (used > 0 && (n < 0 || (used > to->capacity[n & ~PLACE_AREA] &&
                                   to->capacity[n & ~PLACE_AREA] < from->capacity[i]))) {
            return false;
        }
    }
    return true;
}

/* Orders keep their places by label; ended ones lose those that are no more. */
static void move_to_chart(struct model *m, struct m_event *ev, uint8_t layout)
{
    const struct m_layout *from = &m_layouts[ev->layout], *to = &m_layouts[layout];
    uint8_t blocked[M_LABELS] = { 0 };
    for (uint32_t i = 0; i < from->seats; i++) {
        if (ev->blocked[i] != 0) {
            blocked[same_place(from, to, i)] = ev->blocked[i];
        }
    }
    memcpy(ev->blocked, blocked, sizeof blocked);
    for (int i = 0; i < M_ORDERS; i++) {
        struct m_order *o = &m->orders[i];
        struct m_place places[M_PLACES];
        uint32_t n = 0;
        for (int k = 0; o->used && k < o->places_count; k++) {
            struct m_place p = o->places[k];
            int64_t number = p.event == ev->number ? same_place(from, to, p.number) : p.number;
            if (number >= 0) {
                p.number = (uint32_t)number;
                places[n++] = p;
            }
        }
        if (o->used) {
            model_set_places(o, places, n);
        }
    }
    ev->layout = layout;
}

static uint64_t event_set(struct model *m, const struct m_op *op)
{
    struct m_event *ev = &m->events[op->event];
    if (!ev->used) {
        return BIT(ERR_NOTFOUND);
    }
    bool moves = (op->set & SET_CHART) && op->chart != ev->chart;
    uint64_t faults = 0;
    if ((op->set & SET_CURRENCY) && ev->sold && op->currency != ev->currency) {
        faults |= BIT(ERR_CONFLICT);
    }
    if ((op->set & SET_CHART) && m->charts[op->chart] == 0) {
        faults |= BIT(ERR_NOTFOUND);
    } else if (moves && !chart_fits(m, ev, &m_layouts[m->charts[op->chart] - 1])) {
        faults |= BIT(ERR_CONFLICT);
    }
    if (faults != 0) {
        return faults;
    }
    ev->attributes = op->set & SET_ATTRIBUTES ? op->text : ev->attributes;
    ev->ruleset = op->set & SET_RULESET ? op->ruleset : ev->ruleset;
    ev->currency = op->set & SET_CURRENCY ? op->currency : ev->currency;
    ev->open = op->set & SET_OPEN ? op->open : ev->open;
    if (moves) {
        ev->chart = op->chart;
        move_to_chart(m, ev, (uint8_t)(m->charts[op->chart] - 1));
    }
    ev->index = m->index;
    return 0;
}

static uint64_t event_remove(struct model *m, const struct m_op *op)
{
    struct m_event *ev = &m->events[op->event];
    if (!ev->used) {
        return BIT(ERR_NOTFOUND);
    }
    for (int i = 0; i < M_ORDERS; i++) {
        const struct m_order *o = &m->orders[i];
        for (int k = 0; model_live(o) && k < o->places_count; k++) {
            if (o->places[k].event == ev->number) {
                return BIT(ERR_CONFLICT);
            }
        }
    }
    memset(ev, 0, sizeof *ev);
    return 0;
}

static uint64_t block(struct model *m, const struct m_op *op)
{
    bool on = op->kind == EFFECT_BLOCK;
    uint64_t faults = op->places_count == 0 ? BIT(ERR_BADARG) : 0;
    for (uint32_t i = 0; i < op->places_count; i++) {
        const struct m_place *p = &op->places[i];
        const struct m_event *ev = model_event(m, p->event);
        int order;
        bool again = false;
        for (uint32_t j = 0; j < i; j++) {
            again |= op->places[j].event == p->event && op->places[j].number == p->number;
        }
        if (ev == NULL) {
            faults |= BIT(ERR_NOTFOUND);
        } else if (p->number & PLACE_AREA) {
            faults |= BIT(ERR_BADARG);
        } else if (p->number >= m_layouts[ev->layout].seats) {
            faults |= BIT(ERR_NOTFOUND);
        } else if (again ||
                   model_seat(m, ev, p->number, &order) != (on ? SEAT_FREE : SEAT_BLOCKED)) {
            faults |= BIT(on ? ERR_TAKEN : ERR_CONFLICT);
        }
    }
    for (uint32_t i = 0; faults == 0 && i < op->places_count; i++) {
        model_event_of(m, op->places[i].event)->blocked[op->places[i].number] =
            on ? (uint8_t)(op->text + 1) : 0;
    }
    if (faults == 0) {
        model_touch(m, op->places, op->places_count, false);
    }
    return faults;
}

/* ---- Small things ----------------------------------------------------------------- */

static uint64_t result(struct model *m, const struct m_op *op)
{
    for (uint32_t i = 0; i < m->results_count; i++) {
        if (m->results[i].user == op->user && m->results[i].request == op->request) {
            return BIT(ERR_CONFLICT);
        }
    }
    const struct m_order *o = &m->orders[op->order], *o2 = &m->orders[op->order2];
    struct m_result *r = &m->results[m->results_count++];
    memset(r, 0, sizeof *r);
    r->user = op->user;
    r->request = op->request;
    r->code = (uint16_t)op->code;
    r->args = op->args;
    r->index = m->index;
    r->time = m->time;
    if (op->code == 0 && o->used) {
        r->order = (uint8_t)(op->order + 1);
        r->serial = o->serial;
    }
    if (op->code == 0 && o2->used) {
        r->order2 = (uint8_t)(op->order2 + 1);
        r->serial2 = o2->serial;
    }
    return 0;
}

static uint64_t result_drop(struct model *m, const struct m_op *op)
{
    uint32_t n = 0;
    while (n < m->results_count && m->results[n].time < op->time) {
        n++;
    }
    m->results_count -= n;
    memmove(m->results, m->results + n, sizeof m->results[0] * m->results_count);
    memset(m->results + m->results_count, 0, sizeof m->results[0] * n);
    return 0;
}

static uint64_t policy_put(struct model *m, const struct m_op *op)
{
    uint32_t newest = m->policies_count > 0 ? m->policies[m->policies_count - 1].version : 0;
    if (op->version != newest + 1) {
        return BIT(ERR_CONFLICT);
    }
    if (m->policies_count == M_POLICIES) {
        memmove(m->policies, m->policies + 1, sizeof m->policies[0] * --m->policies_count);
    }
    struct m_policy *p = &m->policies[m->policies_count++];
    memset(p, 0, sizeof *p);
    p->version = op->version;
    p->author = op->user;
    p->bundle = op->text;
    p->time = m->time;
    return 0;
}

uint64_t model_do(struct model *m, const struct m_op *op)
{
    switch (op->kind) {
    case EFFECT_CHART_PUT: return chart_put(m, op);
    case EFFECT_EVENT_PUT: return event_put(m, op);
    case EFFECT_EVENT_SET: return event_set(m, op);
    case EFFECT_EVENT_REMOVE: return event_remove(m, op);
    case EFFECT_TAKE: return model_take(m, op);
    case EFFECT_CONFIRM:
    case EFFECT_EXTEND: return model_confirm_or_extend(m, op);
    case EFFECT_FINISH: return model_finish(m, op);
    case EFFECT_RESEAT: return model_reseat(m, op);
    case EFFECT_SPLIT: return model_split(m, op);
    case EFFECT_AMEND:
    case EFFECT_ORDER_DROP: return model_amend_or_drop(m, op);
    case EFFECT_FORGET: return model_forget(m, op);
    case EFFECT_BLOCK:
    case EFFECT_UNBLOCK: return block(m, op);
    case EFFECT_KV_SET: m->kv[op->key] = op->text; return 0;
    case EFFECT_RESULT: return result(m, op);
    case EFFECT_RESULT_DROP: return result_drop(m, op);
    case EFFECT_POLICY_PUT: return policy_put(m, op);
    case EFFECT_RECORD_SET: m->records[op->record] = op->text; return 0;
    case EFFECT_EMIT: return 0;
    }
    return BIT(ERR_INTERNAL);
}
