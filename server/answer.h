/* One answer, from its turn in a seat to its end. */
#ifndef DLX_SRV_ANSWER_H
#define DLX_SRV_ANSWER_H

#include "work.h"

void dlx_srv_answer_init(dlx_srv_answer *a, dlx_srv_work *w, int index, const dlx_srv_prompt *prompt, int k);
void dlx_srv_answer_free(dlx_srv_answer *a);
/* Decodes it on this thread, which has that seat. */
void dlx_srv_answer_run(dlx_srv_answer *a, int seat);
/* It failed; streams are told. */
void dlx_srv_answer_fail(dlx_srv_answer *a, dlx_status status, const char *message);

#endif
