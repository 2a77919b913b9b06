/* Groups: items that are answered together, and the text of their answers.
 *
 * An answer is kept as bytes in the group's buffer and offsets in the item, so that a batch
 * of a thousand bookings costs no allocation once the buffers have grown. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "service/service_impl.h"

/* A spare group keeps its buffer unless one huge answer made it this large. */
#define SPARE_BYTES_MAX ((size_t)1024 * 1024)

struct group *group_new(struct service *s, enum group_kind kind)
{
    struct group *g = s->spare;
    if (g != NULL) {
        s->spare = g->next;
    } else {
        g = mem_must_alloc(sizeof *g);
        buf_init(&g->text);
    }
    struct buf text = g->text;
    memset(g, 0, sizeof *g);
    g->text = text;
    buf_clear(&g->text);
    g->service = s;
    g->kind = kind;
    return g;
}

void group_free(struct group *g)
{
    struct service *s = g->service;
    ASSERT(g->items.head == NULL && !g->reading);
    if (g->text.cap > SPARE_BYTES_MAX || g->text.failed) {
        buf_free(&g->text);
    }
    g->next = s->spare;
    s->spare = g;
}

void groups_push(struct groups *l, struct group *g)
{
    g->next = NULL;
    if (l->tail != NULL) {
        l->tail->next = g;
    } else {
        l->head = g;
    }
    l->tail = g;
}

struct group *groups_pop(struct groups *l)
{
    struct group *g = l->head;
    if (g != NULL) {
        l->head = g->next;
        if (l->head == NULL) {
            l->tail = NULL;
        }
        g->next = NULL;
    }
    return g;
}

void groups_remove(struct groups *l, struct group *g)
{
    struct group *before = NULL;
    for (struct group *at = l->head; at != NULL; before = at, at = at->next) {
        if (at == g) {
            *(before != NULL ? &before->next : &l->head) = g->next;
            if (l->tail == g) {
                l->tail = before;
            }
            g->next = NULL;
            return;
        }
    }
}

static void keep(struct group *g, struct item *it, int code, const struct error *e,
                 struct span fields, struct span json)
{
    it->code = code;
    it->answer_at = (uint32_t)g->text.len;
    it->json_len = (uint32_t)json.len;
    it->message_len = 0;
    it->hint_len = 0;
    it->fields_len = (uint32_t)fields.len;
    buf_put(&g->text, json.data, json.len);
    if (code != 0) {
        it->message_len = (uint32_t)strlen(e->message);
        it->hint_len = (uint32_t)strlen(e->hint);
        buf_put(&g->text, e->message, it->message_len);
        buf_put(&g->text, e->hint, it->hint_len);
    }
    buf_put(&g->text, fields.data, fields.len);
    items_push(&g->items, it);
}

void group_keep(struct group *g, struct item *it, const struct policy_answer *a)
{
    struct span none = { "", 0 };
    if (a->code == 0) {
        keep(g, it, 0, NULL, none, span_make((const char *)a->json.data, a->json.len));
    } else {
        keep(g, it, a->code, &a->error, span_make((const char *)a->fields.data, a->fields.len),
             none);
    }
}

void group_keep_error(struct group *g, struct item *it, const struct error *e)
{
    struct span none = { "", 0 };
    keep(g, it, e->code, e, none, none);
}

static void answer_one(struct group *g, struct item *it)
{
    struct span none = { "", 0 };
    if (it->answered) {
        return;
    }
    if (g->text.failed) {
        item_unknown(it, "out of memory for the answer");
        return;
    }
    const char *p = g->text.data != NULL ? (const char *)g->text.data + it->answer_at : "";
    struct span json = span_make(p, it->json_len);
    if (it->code == 0) {
        item_answer(it, 0, NULL, none, json);
        return;
    }
    struct error e;
    e.code = it->code;
    p += it->json_len;
    memcpy(e.message, p, it->message_len);
    e.message[it->message_len] = 0;
    p += it->message_len;
    memcpy(e.hint, p, it->hint_len);
    e.hint[it->hint_len] = 0;
    item_answer(it, e.code, &e, span_make(p + it->hint_len, it->fields_len), none);
}

void group_answer(struct group *g)
{
    struct item *it;
    while ((it = items_pop(&g->items)) != NULL) {
        answer_one(g, it);
        item_free(it);
    }
    group_free(g);
}
