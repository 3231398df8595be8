#include "backends/qnn/chips.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/sizes.h"

/* SM7475 is not among ExecuTorch's. The libraries take its number, and refuse there what they refuse on V69; its memory
 * is the least that any of the others has, which a larger one holds. Who sells what is for people, from public pages.
 */
static const dlx_qnn_chip chips[] = {
    {"SM8350", 30, 68, 4, "Snapdragon 888"},           {"SM8450", 36, 69, 8, "Snapdragon 8 Gen 1"},
    {"SM8475", 42, 69, 8, "Snapdragon 8+ Gen 1"},      {"SM7475", 54, 69, 2, "Snapdragon 7+ Gen 2"},
    {"SM8550", 43, 73, 8, "Snapdragon 8 Gen 2"},       {"SM8650", 57, 75, 8, "Snapdragon 8 Gen 3"},
    {"SM8750", 69, 79, 8, "Snapdragon 8 Elite"},       {"SM8845", 97, 81, 8, "Snapdragon 8 Gen 5"},
    {"SM8850", 87, 81, 8, "Snapdragon 8 Elite Gen 5"}, {"QCM6490", 93, 68, 2, "Dragonwing QCM6490"},
    {"QCS9100", 77, 73, 8, "Dragonwing IQ-9"},         {"SA8255", 52, 73, 8, "Snapdragon Ride"},
    {"SA8295", 39, 68, 8, "Snapdragon Cockpit"},       {"SA8797", 72, 81, 16, "Snapdragon Cockpit Elite"},
    {"SAR2230P", 95, 81, 4, "Snapdragon AR1+ Gen 1"},  {"SSG2115P", 46, 73, 2, "Snapdragon AR2 Gen 1"},
    {"SSG2125P", 58, 73, 2, "Snapdragon AR1 Gen 1"},   {"SW6100", 96, 81, 4, "Snapdragon W5"},
    {"SXR1230P", 45, 73, 2, "Snapdragon XR1"},         {"SXR2230P", 53, 69, 8, "Snapdragon XR2 Gen 2"},
    {"SXR2330P", 75, 79, 8, "Snapdragon XR2"},
};

const dlx_qnn_chip *dlx_qnn_chip_at(unsigned i)
{
    return i < DLX_COUNT(chips) ? &chips[i] : NULL;
}

dlx_status dlx_qnn_chip_find(const dlx_qnn_chip **out, const char *name, dlx_error *err)
{
    char known[256] = "";
    size_t used = 0;
    *out = NULL;
    for (size_t i = 0; name && i < DLX_COUNT(chips); i++)
        if (!strcasecmp(chips[i].name, name)) {
            *out = &chips[i];
            return DLX_OK;
        }
    for (size_t i = 0; i < DLX_COUNT(chips) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", chips[i].name);
    if (!name) return dlx_fail(err, DLX_E_INVALID, "QNN programs are made for one chip, and none was named: %s", known);
    return dlx_fail(err, DLX_E_INVALID, "no chip '%.40s' is known to the QNN backend; expected one of %s", name, known);
}
