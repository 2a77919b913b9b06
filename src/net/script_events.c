/* See script_events.h. The script module stands above the service and does not know it, so its
 * hooks are tied to the service's events here. */
#include "net/script_events.h"

#include "base/json.h"

static void on_role(void *arg, int role, const char *leader, uint64_t term)
{
    scripts_role(arg, role, leader, term);
}

static void on_committed(void *arg, uint64_t index, uint64_t term, struct span entry, bool mine)
{
    scripts_committed(arg, index, term, entry, mine);
}

static void on_restored(void *arg, struct store *store) { scripts_restored(arg, store); }

static void on_policy(void *arg, uint32_t version) { scripts_policy(arg, version); }

static void on_member(void *arg, const struct cluster_member_change *m)
{
    struct buf b = BUF_INIT;
    buf_put_str(&b, "{\"address\":");
    json_put_string(&b, span_of(m->address));
    buf_printf(&b, ",\"change\":\"%s\",\"voters\":%u,\"id\":\"%016llx\",\"index\":%llu}", m->change,
               m->voters, (unsigned long long)m->node_id, (unsigned long long)m->index);
    if (!b.failed) {
        scripts_event(arg, "member", span_make((const char *)b.data, b.len));
    }
    buf_free(&b);
}

static const struct service_events script_events = {
    .role = on_role,
    .committed = on_committed,
    .restored = on_restored,
    .policy = on_policy,
    .member = on_member,
};

void script_events_listen(struct service *service, struct scripts *scripts)
{
    service_listen(service, &script_events, scripts);
}
