/* Assertions guard only our own mistakes and stay on in every build.
 *
 * Bytes from the network, from disk and from scripts are never asserted: they
 * return errors. */
#ifndef USHER_BASE_ASSERT_H
#define USHER_BASE_ASSERT_H

_Noreturn __attribute__((cold)) void assert_failed(const char *text, const char *file, int line);

#define ASSERT(cond) ((cond) ? (void)0 : assert_failed(#cond, __FILE__, __LINE__))

#endif
