/* A whole node, wired together (node.h).
 *
 * Start: env, registry, policy, scripts, service, listener (the port is taken before the
 * data directory is touched), cluster; then the parts learn of each other.
 *
 * Stop, within STOP_MS, serving as long as possible:
 *
 *   nobody new is accepted -> leadership is handed over while the scripts' `stop` hooks run ->
 *   clients' connections: what was read is answered (by the new leader), then they end ->
 *   what is left of them is cut -> scripts end -> the journal is closed by the cluster ->
 *   the last jobs on workers end -> freed
 *
 * A node that cannot go on (disk error) goes the same way with the error in hand, without the
 * handover. A second signal, or STOP_MS, ends the process at once: nothing acknowledged
 * is lost by that. */
#define LOG_MODULE "node"
#include "net/node.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/access.h"
#include "net/listener.h"
#include "net/machine.h"
#include "net/profile.h"
#include "net/script_events.h"
#include "policy/bundle_files.h"
#include "raftio/env_uv.h"

/* In all, and for answers that are still to come after the handover. */
#define STOP_MS  4500
#define DRAIN_MS 1500

struct node {
    const struct node_options *o;
    uv_loop_t loop;
    struct env *env;
    struct registry *registry;
    struct policy *policy;
    struct scripts *scripts;
    struct access *access;
    struct service *service;
    struct listener *listener;
    struct cluster *cluster;
    struct machine machine;
    struct buf first_policy;
    uv_signal_t signals[2];
    uv_timer_t deadline, drain;
    struct error failed; /* why the node cannot go on; code 0: it was asked to stop */
    unsigned stop_waits; /* for hooks and handover */
    bool stopping, closing, settled, ended, loop_ready;
};

/* ---- Stopping ------------------------------------------------------------------------- */

static void end(struct node *n)
{
    n->ended = true;
    uv_stop(&n->loop);
}

static void jobs_ended(void *arg)
{
    struct node *n = arg;
    n->settled = true;
    end(n);
}

/* Files that scripts or the service were writing are finished: a job has its owner's memory. */
static void cluster_stopped(void *arg)
{
    struct node *n = arg;
    n->cluster = NULL;
    service_detach(n->service);
    env_uv_when_idle(n->env, jobs_ended, n);
}

static void scripts_halted(void *arg)
{
    struct node *n = arg;
    cluster_stop(n->cluster, cluster_stopped, n);
}

static void listener_closed(void *arg)
{
    struct node *n = arg;
    n->listener = NULL;
    scripts_halt(n->scripts, scripts_halted, n);
}

static void on_deadline(uv_timer_t *timer)
{
    struct node *n = timer->data;
    log_warn("did not come to an end within %d ms: stopping at once (nothing acknowledged is lost)",
             STOP_MS);
    end(n);
}

static void close_clients(struct node *n)
{
    if (!n->closing) {
        n->closing = true;
        (void)uv_timer_stop(&n->drain);
        listener_close(n->listener, listener_closed, n);
    }
}

static void on_drained(void *arg) { close_clients(arg); }

static void on_drain_late(uv_timer_t *timer) { close_clients(timer->data); }

static void stop_step(struct node *n)
{
    if (--n->stop_waits == 0) {
        (void)uv_timer_start(&n->drain, on_drain_late, DRAIN_MS, 0);
        listener_drain(n->listener, on_drained, n);
    }
}

static void scripts_stopped(void *arg) { stop_step(arg); }

static void handed_over(void *arg, int status)
{
    if (status != 0) {
        log_info("leadership could not be handed over: the others will elect");
    }
    stop_step(arg);
}

static bool leads_others(struct node *n)
{
    struct cluster_status s;
    unsigned voters = 0;
    cluster_status(n->cluster, &s);
    for (size_t i = 0; i < s.members_count; i++) {
        voters += s.members[i].voter;
    }
    return n->failed.code == 0 && s.role == ROLE_LEADER && voters > 1;
}

static void stop(struct node *n)
{
    if (n->stopping) {
        return;
    }
    n->stopping = true;
    (void)uv_timer_start(&n->deadline, on_deadline, STOP_MS, 0);
    listener_refuse(n->listener);
    n->stop_waits = 2;
    if (leads_others(n)) {
        cluster_transfer(n->cluster, "", handed_over, n);
    } else {
        n->stop_waits--;
    }
    scripts_stop(n->scripts, scripts_stopped, n);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct node *n = handle->data;
    if (n->stopping) {
        end(n); /* a second signal does not wait */
        return;
    }
    log_info("%s: stopping", number == SIGINT ? "SIGINT" : "SIGTERM");
    stop(n);
}

/* The cluster has logged it already. */
static void on_fatal(void *arg, const struct error *e, bool stop_process)
{
    struct node *n = arg;
    if (stop_process && n->failed.code == 0) {
        n->failed = *e;
        stop(n);
    }
}

static void on_role(void *arg, int role, const char *leader, uint64_t term)
{
    (void)arg;
    log_info("%s%s%s in term %llu", cluster_role_name(role), leader[0] != 0 ? ", leader is " : "",
             leader, (unsigned long long)term);
}

static const struct service_events node_events = { .role = on_role, .fatal = on_fatal };

/* ---- Starting --------------------------------------------------------------------------- */

/* The limit of open files is raised to what is allowed: connections are files. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int start_loop(struct node *n, struct error *e)
{
    static const int numbers[] = { SIGINT, SIGTERM };
    if (uv_loop_init(&n->loop) != 0) {
        return error_set(e, ERR_INTERNAL, "cannot make an event loop");
    }
    n->loop_ready = true;
    for (size_t i = 0; i < 2 && !n->o->embedded; i++) {
        (void)uv_signal_init(&n->loop, &n->signals[i]);
        n->signals[i].data = n;
        (void)uv_signal_start(&n->signals[i], on_signal, numbers[i]);
    }
    (void)uv_timer_init(&n->loop, &n->deadline);
    n->deadline.data = n;
    (void)uv_timer_init(&n->loop, &n->drain);
    n->drain.data = n;
    return env_uv_new(&n->loop, &n->env, e);
}

static int start_lua(struct node *n, struct error *e)
{
    const struct config *config = n->o->config;
    struct policy_options po = { .lua_dir = config->lua };
    n->env->ops->random(n->env, po.seed, sizeof po.seed);
    n->registry = registry_new();
    if (n->registry == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    int code = policy_new(&po, n->registry, &n->policy, e);
    if (code == 0 && config->policy != NULL) {
        code = policy_files_read(config->policy, &n->first_policy, e);
    }
    const struct scripts_options so = {
        .env = n->env,
        .registry = n->registry,
        .policy = n->policy,
        .files = (const char *const *)config->scripts,
        .config_json = span_make((const char *)config->json.data, config->json.len),
        .profile = config->profile,
        .version = n->o->version,
        .dir = n->o->dir,
        .file_bytes_max = config->script_file_bytes,
        .memory_max = (size_t)config->script_memory_bytes,
        .instructions_max = config->script_instructions,
    };
    code = code != 0 ? code : scripts_new(&so, &n->scripts, e);
    if (code == 0 && n->o->tap != NULL) {
        scripts_tap(n->scripts, n->o->tap);
    }
    return code;
}

static int start_service(struct node *n, struct error *e)
{
    const struct service_options so = {
        .env = n->env,
        .policy = n->policy,
        .registry = n->registry,
        .node_command = scripts_node_command,
        .node_cancel = scripts_node_cancel,
        .arg = n->scripts,
        .first_policy = span_make((const char *)n->first_policy.data, n->first_policy.len),
        .first_policy_path = n->o->config->policy,
        .dir = n->o->dir,
    };
    int code = service_new(&so, &n->service, e);
    if (code == 0) {
        service_listen(n->service, &node_events, n);
        script_events_listen(n->service, n->scripts);
    }
    return code;
}

static int start_listener(struct node *n, struct error *e)
{
    const struct listener_options lo = {
        .loop = &n->loop,
        .env = n->env,
        .address = n->o->address,
        .loopback_only = config_loopback_only(n->o->config),
        .service = n->service,
        .scripts = n->scripts,
        .access = n->access,
    };
    return listener_start(&lo, &n->listener, e);
}

static uint32_t version_number(const char *text)
{
    unsigned major = 0, minor = 0, patch = 0;
    (void)sscanf(text, "%u.%u.%u", &major, &minor, &patch);
    return major * 1000000 + minor * 1000 + patch;
}

static void tell_vitals(void *arg, struct cluster_vitals *v)
{
    const struct node *n = arg;
    machine_vitals(&n->machine, v);
    service_vitals(n->service, v);
}

static int start_cluster(struct node *n, struct error *e)
{
    const struct config *config = n->o->config;
    struct cluster_options co = {
        .dir = n->o->dir,
        .address = n->o->address,
        .nodes = (const char *const *)config->nodes,
        .secret = config->secret != NULL ? span_of(config->secret) : span_make("", 0),
        .election_timeout_ms = config->election_timeout_ms,
        .found = n->o->found,
        .version = version_number(n->o->version),
        .snapshot_bytes = config->snapshot_bytes,
        .arg = n->service,
    };
    service_cluster_events(&co.on);
    machine_init(&n->machine, config->alike_hash);
    co.machine = tell_vitals;
    co.machine_arg = n;
    int code = cluster_start(n->env, &co, &n->cluster, e);
    if (code != 0) {
        return code;
    }
    struct request_sink sink;
    service_attach(n->service, n->cluster);
    service_sink(n->service, &sink);
    scripts_attach(n->scripts, &sink, n->cluster);
    scripts_begin(n->scripts);
    listener_set_cluster(n->listener, n->cluster);
    return 0;
}

/* ---- The end ------------------------------------------------------------------------------ */

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

static void note_closed(void *arg)
{
    struct node *n = arg;
    n->listener = NULL;
}

static void close_own(uv_handle_t *handle, void *arg)
{
    if (handle->data == arg) {
        close_handle(handle, NULL);
    }
}

/* After a start that failed: what was begun ends first (a journal that is being closed has
 * jobs on workers that still need the env). No link exists yet, so the loop runs dry. */
static void settle(struct node *n)
{
    if (n->listener != NULL) {
        listener_close(n->listener, note_closed, n);
    }
    if (n->loop_ready) {
        uv_walk(&n->loop, close_own, n);
        (void)uv_run(&n->loop, UV_RUN_DEFAULT);
    }
}

/* Frees what there is, in any state of the start; `clean` when nothing is in flight. */
static void node_free(struct node *n, bool clean)
{
    if (!clean) {
        /* The process ends now; parts that still work in the background are left to it. */
        return;
    }
    if (n->service != NULL) {
        service_free(n->service);
    }
    if (n->scripts != NULL) {
        scripts_free(n->scripts);
    }
    if (n->policy != NULL) {
        policy_free(n->policy);
    }
    if (n->registry != NULL) {
        registry_free(n->registry);
    }
    if (n->access != NULL) {
        access_free(n->access);
    }
    if (n->env != NULL) {
        env_uv_free(n->env);
    }
    if (n->loop_ready) {
        uv_walk(&n->loop, close_handle, NULL);
        (void)uv_run(&n->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&n->loop);
    }
    buf_free(&n->first_policy);
    mem_free(n);
}

int node_start(const struct node_options *o, struct node **out, struct error *e)
{
    struct node *n = mem_zalloc(sizeof *n);
    if (n == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    n->o = o;
    if (!o->embedded) {
        raise_file_limit();
    }
    int code = start_loop(n, e);
    code = code != 0 ? code : profile_access(n->o->config, &n->access, e);
    code = code != 0 ? code : start_lua(n, e);
    code = code != 0 ? code : start_service(n, e);
    code = code != 0 ? code : start_listener(n, e);
    code = code != 0 ? code : start_cluster(n, e);
    if (code != 0) {
        settle(n);
        node_free(n, true);
        return code;
    }
    log_info("usher %s serves on %s, profile %s, data in %s", o->version, o->address,
             o->config->profile, o->dir);
    if (config_loopback_only(o->config)) {
        bool users = o->config->users_count > 0, secret = o->config->secret != NULL;
        log_info("the profile has no %s: only this machine is served%s",
                 users    ? "secret"
                 : secret ? "users"
                          : "users and secret",
                 users ? "" : ", and everybody is admin");
    }
    *out = n;
    return 0;
}

int node_run(struct node *n, struct error *e)
{
    (void)uv_run(&n->loop, UV_RUN_DEFAULT);
    return node_finish(n, e);
}

struct uv_loop_s *node_loop(struct node *n) { return &n->loop; }
struct service *node_service(struct node *n) { return n->service; }
void node_stop(struct node *n) { stop(n); }
bool node_ended(const struct node *n) { return n->ended; }

int node_finish(struct node *n, struct error *e)
{
    int code = n->failed.code;
    if (code != 0 && e != NULL) {
        *e = n->failed;
    }
    node_free(n, n->settled);
    return code;
}
