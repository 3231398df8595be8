/* Calls the library across its ABI: prints "diffulex_edge VERSION" when everything answers as the headers say. */
#include <diffulex_edge/diffulex_edge.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    dlx_error err = {DLX_OK, ""};
    dlx_model *model = NULL;
    if (dlx_model_open(&model, "no-such-file.pte", NULL, &err) != DLX_E_IO || model != NULL) {
        fprintf(stderr, "opening a missing file: status %d, expected %d\n", (int)err.status, (int)DLX_E_IO);
        return 1;
    }
    if (strstr(err.message, "no-such-file.pte") == NULL) {
        fprintf(stderr, "the message does not name the file: %s\n", err.message);
        return 1;
    }
    dlx_decode_options *options = NULL;
    if (dlx_decode_options_create(&options, &err) != DLX_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    dlx_decode_options_free(options);
    printf("diffulex_edge %s\n", dlx_version_string());
    return 0;
}
