/* Loading a node script: shared by files.c (at the start) and reload.c. */
#ifndef USHER_SCRIPT_FILES_IMPL_H
#define USHER_SCRIPT_FILES_IMPL_H

#include "script/script_impl.h"

/* One file that runs for the first time, in a state of its own. */
struct load {
    struct vm *vm;
    struct span text;
    lua_State *co;
    uint64_t budget;
    bool done;
};

/* The text of a script. Blocking: at the start, or on a worker. */
int script_read(struct env *env, const struct script_file *file, struct buf *out, struct error *e);
/* l->vm is made and `loading`, also after some errors: then the caller retires it. */
int load_begin(struct scripts *s, const struct script_file *file, struct span text, struct load *l,
               struct error *e);
/* One slice of it, or all (`whole`); l->done when it has ended. */
int load_step(struct load *l, bool whole, struct error *e);

#endif
