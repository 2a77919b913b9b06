/* See rehearse_report.h. */
#include "policy/rehearse_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "store/effect.h"

static void count(struct tally *t, int64_t seats, int64_t money)
{
    t->count++;
    t->seats += seats;
    t->money += money;
}

static void count_rule(struct report *r, const struct outcome *now, const struct outcome *was)
{
    const char *rule = now->rule[0] != 0 ? now->rule : error_wire(now->code);
    size_t i = 0;
    while (i < r->rules_count && strcmp(r->rules[i].rule, rule) != 0) {
        i++;
    }
    if (i == r->rules_count) {
        if (i == REHEARSE_RULES) {
            return;
        }
        (void)snprintf(r->rules[i].rule, RULE_BYTES, "%s", rule);
        r->rules_count++;
    }
    count(&r->rules[i].t, was->seats, was->money);
}

/* The request as one would type it, cut where it is long. */
static void put_words(struct span argv, struct buf *out)
{
    struct reader r;
    struct buf text = BUF_INIT;
    reader_init(&r, argv.data, argv.len);
    uint64_t n = reader_varint(&r);
    for (uint64_t i = 0; i < n && !r.failed && text.len < 200; i++) {
        struct span word = reader_bytes(&r);
        if (i > 0) {
            buf_put_u8(&text, ' ');
        }
        buf_put(&text, word.data, word.len < 100 ? word.len : 100);
    }
    json_field_string(out, "command", span_make((const char *)text.data, text.len));
    buf_free(&text);
}

static void put_verdict(struct buf *out, const char *key, const struct outcome *o)
{
    json_field_string(out, key, span_of(o->code == 0 ? "granted" : error_wire(o->code)));
}

static void put_example(struct report *r, struct span argv, uint64_t index,
                        const struct outcome *was, const struct outcome *now)
{
    if (r->examples_count == REHEARSE_EXAMPLES) {
        return;
    }
    r->examples_count++;
    struct buf *b = &r->examples;
    json_put_comma(b);
    buf_put_u8(b, '{');
    json_field_int(b, "index", (int64_t)index);
    put_words(argv, b);
    put_verdict(b, "was", was);
    put_verdict(b, "now", now);
    if (now->rule[0] != 0) {
        json_field_string(b, "rule", span_of(now->rule));
    }
    if (now->code != 0) {
        json_field_string(b, "message", span_of(now->message));
    }
    json_field_int(b, "seats", now->code == 0 ? now->seats : was->seats);
    json_field_int(b, "money", now->code == 0 ? now->money - was->money : -was->money);
    buf_put_u8(b, '}');
}

/* True when the decision is another one. */
static bool compare(struct report *r, const struct outcome *was, const struct outcome *now)
{
    if (now->code == ERR_INTERNAL) {
        r->failed++;
    }
    if (was->code == 0 && now->code != 0) {
        count(&r->refused_now, was->seats, was->money);
        count_rule(r, now, was);
        return true;
    }
    if (was->code != 0 && now->code == 0) {
        count(&r->granted_now, now->seats, now->money);
        return true;
    }
    if (was->code != now->code) {
        r->other_code++;
        return true;
    }
    if (was->code != 0) {
        return false;
    }
    if (was->shape != now->shape) {
        count(&r->other_seats, now->seats, now->money - was->money);
    } else if (was->money != now->money) {
        count(&r->other_price, now->seats, now->money - was->money);
    } else if (was->hold_ms != now->hold_ms) {
        count(&r->other_hold, now->seats, 0);
    } else {
        return false;
    }
    return true;
}

void report_decision(struct report *r, struct span argv, uint64_t time_ms, uint64_t index,
                     const struct outcome *was, const struct outcome *now)
{
    if (r->requests++ == 0) {
        r->first_index = index;
        r->first_ms = time_ms;
    }
    r->last_index = index;
    r->last_ms = time_ms;
    if (compare(r, was, now)) {
        put_example(r, argv, index, was, now);
    } else {
        r->same++;
    }
}

static void put_tally(struct buf *b, const char *key, const struct tally *t)
{
    json_put_key(b, key);
    buf_put_u8(b, '{');
    json_field_int(b, "count", (int64_t)t->count);
    json_field_int(b, "seats", t->seats);
    json_field_int(b, "money", t->money);
    buf_put_u8(b, '}');
}

static int by_count(const void *a, const void *b)
{
    uint64_t x = ((const struct rule_tally *)a)->t.count;
    uint64_t y = ((const struct rule_tally *)b)->t.count;
    return x > y ? -1 : x < y;
}

void report_put(struct report *r, struct buf *b)
{
    buf_put_u8(b, '{');
    json_field_int(b, "requests", (int64_t)r->requests);
    json_field_int(b, "same", (int64_t)r->same);
    put_tally(b, "refused_now", &r->refused_now);
    put_tally(b, "granted_now", &r->granted_now);
    put_tally(b, "other_seats", &r->other_seats);
    put_tally(b, "other_price", &r->other_price);
    put_tally(b, "other_hold", &r->other_hold);
    json_field_int(b, "other_refusal", (int64_t)r->other_code);
    json_field_int(b, "policy_failed", (int64_t)r->failed);
    json_field_int(b, "not_rebuilt", (int64_t)r->not_rebuilt);
    json_field_int(b, "from_index", (int64_t)r->first_index);
    json_field_int(b, "to_index", (int64_t)r->last_index);
    json_field_int(b, "from_time", (int64_t)r->first_ms);
    json_field_int(b, "to_time", (int64_t)r->last_ms);
    qsort(r->rules, r->rules_count, sizeof *r->rules, by_count);
    json_put_key(b, "rules");
    buf_put_u8(b, '[');
    for (size_t i = 0; i < r->rules_count; i++) {
        json_put_comma(b);
        buf_put_u8(b, '{');
        json_field_string(b, "rule", span_of(r->rules[i].rule));
        json_field_int(b, "count", (int64_t)r->rules[i].t.count);
        json_field_int(b, "seats", r->rules[i].t.seats);
        json_field_int(b, "money", r->rules[i].t.money);
        buf_put_u8(b, '}');
    }
    buf_put_u8(b, ']');
    json_put_key(b, "examples");
    buf_put_u8(b, '[');
    buf_put(b, r->examples.data, r->examples.len);
    buf_put_str(b, "]}");
}

void report_free(struct report *r) { buf_free(&r->examples); }
