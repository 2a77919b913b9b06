/* What a policy gets wrong, in the log of the node that runs it: who asked sees the whole error,
 * the operator may never meet one. A text of a policy may name a customer or a code, which no log
 * shows: only the place is told, FILE:LINE, once in COMPLAIN_MS. */
#define LOG_MODULE "policy"
#include <string.h>

#include "base/log.h"
#include "service/service_impl.h"

#define COMPLAIN_MS     60000
#define PLACE_BYTES_MAX 120

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

void service_complain(struct service *s, const struct error *e)
{
    uint64_t now = s->env->ops->mono_ms(s->env);
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
