/* Who asks, kept by what outlives the request or the connection that brought it. */
#include <string.h>

#include "base/mem.h"
#include "script/script_impl.h"

void user_keep(struct kept_user *kept, const struct policy_user *user)
{
    size_t n = 0;
    while (user->roles != NULL && user->roles[n] != NULL) {
        n++;
    }
    kept->name = mem_strndup(user->name.data != NULL ? user->name.data : "", user->name.len);
    kept->roles = mem_must_alloc((n + 1) * sizeof *kept->roles);
    for (size_t i = 0; i < n; i++) {
        kept->roles[i] = mem_strndup(user->roles[i], strlen(user->roles[i]));
    }
    kept->roles[n] = NULL;
    kept->user = *user;
    kept->user.name = span_make(kept->name, user->name.len);
    kept->user.roles = (const char *const *)kept->roles;
}

void user_drop(struct kept_user *kept)
{
    for (char **role = kept->roles; *role != NULL; role++) {
        mem_free(*role);
    }
    mem_free(kept->roles);
    mem_free(kept->name);
}
