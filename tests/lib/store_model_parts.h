/* Inside of the naive model: store_model.c (seats, events, small things) and
 * store_model_orders.c. */
#ifndef USHER_TESTS_LIB_STORE_MODEL_PARTS_H
#define USHER_TESTS_LIB_STORE_MODEL_PARTS_H

#include "lib/store_model.h"

#define BIT(code) (1ull << (code))

struct m_event *model_event_of(struct model *m, uint32_t number);
/* As if order `skip` (-1: none) were not there. */
enum seat_status model_seat_without(const struct model *m, const struct m_event *ev, uint32_t seat,
                                    int skip, int *order);
struct area_use model_area_without(const struct model *m, const struct m_event *ev, uint32_t area,
                                   int skip);
/* The events of these places have changed now. */
void model_touch(struct model *m, const struct m_place *places, uint32_t count, bool sold);
void model_set_places(struct m_order *o, const struct m_place *places, uint32_t count);

uint64_t model_take(struct model *m, const struct m_op *op);
uint64_t model_confirm_or_extend(struct model *m, const struct m_op *op);
uint64_t model_finish(struct model *m, const struct m_op *op);
uint64_t model_reseat(struct model *m, const struct m_op *op);
uint64_t model_split(struct model *m, const struct m_op *op);
uint64_t model_amend_or_drop(struct model *m, const struct m_op *op);
uint64_t model_forget(struct model *m, const struct m_op *op);

#endif
