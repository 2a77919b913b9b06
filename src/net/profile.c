/* See profile.h. */
#include "net/profile.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/bundle_files.h"
#include "script/script.h"

int profile_access(const struct config *config, struct access **out, struct error *e)
{
    struct access *a = access_new();
    if (a == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < config->users_count; i++) {
        const struct config_user *user = &config->users[i];
        int code = access_add(a, user->name, user->password, user->access,
                              (const char *const *)user->roles, e);
        if (code != 0) {
            error_prefix(e, "%s: %s.users.%s", config->file, config->profile, user->name);
            access_free(a);
            return code;
        }
    }
    *out = a;
    return 0;
}

static int check_policy(const struct config *config, struct error *e)
{
    struct policy_options o = { .seed = { 1, 2 }, .lua_dir = config->lua };
    struct buf bundle = BUF_INIT;
    struct registry *r = NULL;
    struct policy *p = NULL;
    int code = policy_files_read(config->policy, &bundle, e);
    if (code == 0) {
        r = registry_new();
        code = r == NULL ? error_set(e, ERR_NOMEM, "out of memory") : policy_new(&o, r, &p, e);
    }
    if (code == 0) {
        code = policy_load(p, 1, span_make((const char *)bundle.data, bundle.len), e);
    }
    policy_free(p);
    registry_free(r);
    buf_free(&bundle);
    if (code != 0) {
        error_prefix(e, "%s: %s.policy", config->file, config->profile);
    }
    return code;
}

static int check_folder(const struct config *config, struct error *e)
{
    struct stat s;
    int err = stat(config->lua, &s) != 0 ? errno : S_ISDIR(s.st_mode) ? 0 : ENOTDIR;
    return err == 0 ? 0
                    : error_set(e, ERR_BADARG, "%s: %s.lua: cannot read %s: %s", config->file,
                                config->profile, config->lua, strerror(err));
}

int profile_check(const struct config *config, struct error *e)
{
    struct access *a = NULL;
    int code = profile_access(config, &a, e);
    if (a != NULL) {
        access_free(a);
    }
    if (code == 0 && config->lua != NULL) {
        code = check_folder(config, e);
    }
    if (code == 0 && config->policy != NULL) {
        code = check_policy(config, e);
    }
    for (size_t i = 0; code == 0 && config->scripts[i] != NULL; i++) {
        if (access(config->scripts[i], R_OK) != 0 && !script_is_shipped(config->scripts[i])) {
            code = error_set(e, ERR_BADARG, "%s: %s.scripts[%zu]: cannot read %s: %s", config->file,
                             config->profile, i + 1, config->scripts[i], strerror(errno));
        }
    }
    return code;
}
