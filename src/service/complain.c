/* What a policy gets wrong, in the log of the node that runs it: who asked sees the whole error,
 * the operator may never meet one. A text of a policy may name a customer or a code, which no log
 * shows: only the place is told, FILE:LINE, once in COMPLAIN_MS; and to the other nodes with the
 * vitals, so that `doctor` shows it wherever it is asked. */
#define LOG_MODULE "policy"
#include <string.h>

#include "base/log.h"
#include "service/service_impl.h"

#define COMPLAIN_MS      60000
#define POLICY_FAILED_MS 300000 /* so long `doctor` tells of it */
#define PLACE_BYTES_MAX  120

static bool in_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == '/';
}

/* The first NAME.lua:LINE in a message; empty when there is none. */
static struct span place_in(const char *message)
{
    for (const char *at = message; (at = strstr(at, ".lua:")) != NULL; at += 5) {
        const char *begin = at, *end = at + 5;
        while (begin > message && in_name(begin[-1])) {
            begin--;
        }
        while (*end >= '0' && *end <= '9') {
            end++;
        }
        if (end > at + 5 && end - begin <= PLACE_BYTES_MAX) {
            return span_make(begin, (size_t)(end - begin));
        }
    }
    return span_make(NULL, 0);
}

/* Of a long one the end, where the file's name and the line are. */
void service_note_place(struct service *s, const struct error *e)
{
    struct span place = place_in(e->message);
    size_t len = place.len < sizeof s->place ? place.len : sizeof s->place - 1;
    memset(s->place, 0, sizeof s->place);
    if (len > 0) {
        memcpy(s->place, place.data + place.len - len, len);
    }
}

void service_vitals(const struct service *s, struct cluster_vitals *v)
{
    uint64_t now = s->env->ops->mono_ms(s->env);
    bool failed = s->failed_ms != 0 && now - s->failed_ms < POLICY_FAILED_MS;
    v->policy_state = POLICY_KNOWN | (s->policy_refused != 0 ? POLICY_REFUSED : 0) |
                      (upkeep_unruled(s) ? POLICY_UNRULED : 0) | (failed ? POLICY_FAILED : 0);
    if (s->policy_refused == 0 && !failed) {
        return;
    }
    for (size_t i = 0; i < sizeof s->place; i++) {
        v->policy_place[i / 8] |= (uint64_t)(uint8_t)s->place[i] << (i % 8 * 8);
    }
}

void service_complain(struct service *s, const struct error *e)
{
    uint64_t now = s->env->ops->mono_ms(s->env);
    s->failed_ms = now;
    if (s->policy_refused == 0) {
        service_note_place(s, e); /* else the place is why another one does not load */
    }
    if (now < s->complain_ms) {
        return;
    }
    s->complain_ms = now + COMPLAIN_MS;
    struct span place = place_in(e->message);
    log_error("policy %u fails%s%.*s: `policy test` and a --dry-run of the request show how; "
              "`policy rollback` takes it back",
              (unsigned)policy_version(s->policy), place.len > 0 ? " at " : "", (int)place.len,
              place.data != NULL ? place.data : "");
}
