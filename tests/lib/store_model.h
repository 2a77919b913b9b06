/* The store as a beginner would write it: plain arrays, linear search, undo by keeping a
 * whole copy. tests/unit/store/test_model.c drives it beside the real one.
 *
 * The world is small so that conflicts are frequent: strings are numbers into pools
 * (store_model_text), number 0 of a pool is the empty string where that is legal. */
#ifndef USHER_TESTS_LIB_STORE_MODEL_H
#define USHER_TESTS_LIB_STORE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "store/effect.h"
#include "store/store.h"

enum {
    M_ORDERS = 40,   /* order ids, so also the most orders at once */
    M_EVENTS = 4,    /* event ids */
    M_CHARTS = 3,    /* chart ids */
    M_LAYOUTS = 5,   /* different charts */
    M_LABELS = 12,   /* seat labels over all layouts */
    M_AREAS = 2,     /* area names over all layouts */
    M_CUSTOMERS = 6, /* customer ids */
    M_TEXTS = 5,     /* attributes, metadata, kv values, ...: JSON texts, 0 empty */
    M_TYPES = 4,     /* ticket types and block reasons, 0 none */
    M_KEYS = 6,
    M_USERS = 3,
    M_REQUESTS = 16,
    M_RESULTS = 64, /* at once; the driver drops before */
    M_RECORDS = 3,
    M_POLICIES = 16,
    M_PLACES = 8, /* of one order */
};

/* A layout: seats and areas by number, each a label number. */
struct m_layout {
    uint8_t seats, areas;
    uint8_t label[M_LABELS];
    uint8_t area[M_AREAS];
    uint8_t capacity[M_AREAS];
};
extern const struct m_layout m_layouts[M_LAYOUTS];
/* Category of a seat or area: the same in every layout. */
int m_category(const struct m_layout *l, uint32_t number);

struct m_place {
    uint32_t event, number, count;
    int32_t price;
    uint32_t type;
};

struct m_order {
    bool used, unjudged, overbook;
    uint8_t status, customer, metadata, places_count;
    uint32_t policy;
    uint64_t expires, first_held, changed, index, serial;
    int64_t price;
    struct m_place places[M_PLACES];
};

struct m_event {
    bool used, open;
    uint8_t chart, layout, attributes, ruleset, currency;
    bool sold;                 /* has had an order */
    uint8_t blocked[M_LABELS]; /* by seat number: 0 no, else reason + 1 */
    uint32_t number;
    uint64_t index;
};

struct m_result {
    uint8_t user, request, order, order2; /* order: id + 1, 0 none */
    uint16_t code;
    uint64_t args, index, time, serial, serial2; /* serials: of the orders when remembered */
};

struct m_policy {
    uint32_t version;
    uint8_t author, bundle;
    uint64_t time;
};

struct model {
    uint64_t time, index, next_serial;
    uint32_t next_event;
    struct m_order orders[M_ORDERS];
    struct m_event events[M_EVENTS];
    uint8_t charts[M_CHARTS]; /* layout + 1, 0 none */
    uint8_t kv[M_KEYS], records[M_RECORDS];
    struct m_result results[M_RESULTS]; /* oldest first */
    uint32_t results_count, policies_count;
    struct m_policy policies[M_POLICIES]; /* oldest first */
};

/* One effect in pool numbers. */
struct m_op {
    enum effect_kind kind;
    unsigned set;
    uint8_t order, order2, customer, customer2, event, chart, layout, text, ruleset, currency;
    uint8_t key, user, request, record;
    bool open, unjudged, overbook, late;
    bool exchange; /* reseat: with order2 */
    int code;
    uint32_t number, version, places_count;
    uint64_t until, args, time;
    int64_t price;
    struct m_place places[M_PLACES];
};

/* Does it and returns 0, or changes nothing and returns a bit (1 << code) for each
 * reason to refuse: which of several the store names is its own affair. */
uint64_t model_do(struct model *m, const struct m_op *op);

/* Status of a seat as the orders and blocks say; *order: the live order on it or -1. */
enum seat_status model_seat(const struct model *m, const struct m_event *ev, uint32_t seat,
                            int *order);
struct area_use model_area(const struct model *m, const struct m_event *ev, uint32_t area);
const struct m_event *model_event(const struct model *m, uint32_t number); /* NULL: none */
static inline bool model_live(const struct m_order *o)
{
    return o->used && o->status <= ORDER_BOOKED;
}

#endif
