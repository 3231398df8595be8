/* Conditions that wait by the monotonic clock. */
#ifndef DLX_SRV_WAIT_H
#define DLX_SRV_WAIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* False when the system refuses it. */
bool dlx_srv_condition(pthread_cond_t *condition);
struct timespec dlx_srv_in_ms(int64_t ms);
int64_t dlx_srv_now_ms(void);

#endif
