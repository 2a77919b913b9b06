/* Ctrl-C in a client program: counted, and announced on a descriptor, because the signal may
 * be handled by another thread of a node whose console waits in poll(). One at a time. */
#ifndef USHER_CONSOLE_INTERRUPT_H
#define USHER_CONSOLE_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

/* Takes SIGINT until interrupt_release(). With `guard` the keys that would stop or kill the
 * process (Ctrl-Z, Ctrl-\) do nothing meanwhile: it is a node. */
bool interrupt_take(bool guard);
void interrupt_release(void);
void interrupt_clear(void); /* counts from 0 again */
unsigned interrupt_count(void);
const volatile sig_atomic_t *interrupt_counter(void);
int interrupt_fd(void); /* readable after an interrupt; drained by interrupt_clear */

#endif
