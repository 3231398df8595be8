/*
 * The chat templates of the families that this library began with, in our own words.
 *
 * Packed tokenizers of version 1 carry a number in place of a template: what they name is compiled from here when such
 * a file is opened. Newer files carry their template, and nothing looks here.
 */
#include "text/published.h"

#include <stddef.h>

/* Qwen2.5's, which Dream and Fast-dLLM v2 share but for the system message. */
#define CHATML(system)                                                                                                 \
    "{%- set opening = messages[0] %}"                                                                                 \
    "{%- if opening['role'] == 'system' %}"                                                                            \
    "{%- set system_text = opening['content'] %}"                                                                      \
    "{%- else %}"                                                                                                      \
    "{%- set system_text = '" system "' %}"                                                                            \
    "{%- endif %}"                                                                                                     \
    "{{- '<|im_start|>system\\n' + system_text }}"                                                                     \
    "{%- if tools %}"                                                                                                  \
    "{{- \"\\n\\n# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou"              \
    " are provided with function signatures within <tools></tools> XML tags:\\n<tools>\" }}"                           \
    "{%- for tool in tools %}"                                                                                         \
    "{{- \"\\n\" }}"                                                                                                   \
    "{{- tool | tojson }}"                                                                                             \
    "{%- endfor %}"                                                                                                    \
    "{{- \"\\n</tools>\\n\\nFor each function call, return a json object with function name and"                       \
    " arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\\"name\\\": <function-name>,"              \
    " \\\"arguments\\\": <args-json-object>}\\n</tool_call><|im_end|>\\n\" }}"                                         \
    "{%- else %}"                                                                                                      \
    "{{- '<|im_end|>\\n' }}"                                                                                           \
    "{%- endif %}"                                                                                                     \
    "{%- for message in messages %}"                                                                                   \
    "{%- if message.role == \"tool\" %}"                                                                               \
    "{%- if loop.first or messages[loop.index0 - 1].role != \"tool\" %}"                                               \
    "{{- '<|im_start|>user' }}"                                                                                        \
    "{%- endif %}"                                                                                                     \
    "{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}"                                         \
    "{%- if loop.last or messages[loop.index0 + 1].role != \"tool\" %}"                                                \
    "{{- '<|im_end|>\\n' }}"                                                                                           \
    "{%- endif %}"                                                                                                     \
    "{%- elif message.role == \"assistant\" and message.tool_calls %}"                                                 \
    "{{- '<|im_start|>assistant' }}"                                                                                   \
    "{%- if message.content %}"                                                                                        \
    "{{- '\\n' + message.content }}"                                                                                   \
    "{%- endif %}"                                                                                                     \
    "{%- for call in message.tool_calls %}"                                                                            \
    "{%- if call.function is defined %}"                                                                               \
    "{%- set call = call.function %}"                                                                                  \
    "{%- endif %}"                                                                                                     \
    "{{- '\\n<tool_call>\\n{\"name\": \"' + call.name + '\", \"arguments\": ' }}"                                      \
    "{{- call.arguments | tojson }}"                                                                                   \
    "{{- '}\\n</tool_call>' }}"                                                                                        \
    "{%- endfor %}"                                                                                                    \
    "{{- '<|im_end|>\\n' }}"                                                                                           \
    "{%- elif message.role in [\"user\", \"assistant\"] or (message.role == \"system\" and not"                        \
    " loop.first) %}"                                                                                                  \
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"                                 \
    "{%- endif %}"                                                                                                     \
    "{%- endfor %}"                                                                                                    \
    "{%- if add_generation_prompt %}"                                                                                  \
    "{{- '<|im_start|>assistant\\n' }}"                                                                                \
    "{%- endif %}"

static const char llada[] =
    "{%- set turns = messages -%}{%- for turn in turns -%}{%- set text = '<|start_header_id|>' +"
    " turn['role'] + '<|end_header_id|>' + '\\n\\n' + turn['content'] | trim + '<|eot_id|>' -%}{%- if"
    " loop.index0 == 0 -%}{%- set text = bos_token + text -%}{%- endif -%}{{- text -}}{%- endfor -%}{{-"
    " '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}";

static const char sdar[] =
    "{%- set has_system = messages[0].role == 'system' %}"
    "{%- if tools %}"
    "{{- '<|im_start|>system\\n' }}"
    "{%- if has_system %}"
    "{{- messages[0].content + '\\n\\n' }}"
    "{%- endif %}"
    "{{- \"# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are"
    " provided with function signatures within <tools></tools> XML tags:\\n<tools>\" }}"
    "{%- for tool in tools %}"
    "{{- \"\\n\" ~ (tool | tojson) }}"
    "{%- endfor %}"
    "{{- \"\\n</tools>\\n\\nFor each function call, return a json object with function name and"
    " arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\\"name\\\": <function-name>,"
    " \\\"arguments\\\": <args-json-object>}\\n</tool_call><|im_end|>\\n\" }}"
    "{%- elif has_system %}"
    "{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- set state = namespace(searching=true, last_query=messages|length - 1) %}"
    "{%- for message in messages[::-1] %}"
    "{%- set position = (messages|length - 1) - loop.index0 %}"
    "{%- if state.searching and message.role == \"user\" %}"
    "{%- if not (message.content.startswith('<tool_response>') and"
    " message.content.endswith('</tool_response>')) %}"
    "{%- set state.searching = false %}"
    "{%- set state.last_query = position %}"
    "{%- endif %}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- for message in messages %}"
    "{%- if message.role == \"user\" or (message.role == \"system\" and not loop.first) %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- elif message.role == \"assistant\" %}"
    "{%- set answer = message.content %}"
    "{%- set thought = '' %}"
    "{%- if message.reasoning_content is defined and message.reasoning_content is not none %}"
    "{%- set thought = message.reasoning_content %}"
    "{%- elif '</think>' in message.content %}"
    "{%- set pieces = message.content.split('</think>') %}"
    "{%- set answer = pieces[-1].lstrip('\\n') %}"
    "{%- set thought = pieces[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{%- endif %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if loop.index0 > state.last_query and (loop.last or thought) %}"
    "{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + answer.lstrip('\\n') }}"
    "{%- else %}"
    "{{- answer }}"
    "{%- endif %}"
    "{%- if message.tool_calls %}"
    "{%- for call in message.tool_calls %}"
    "{%- if not loop.first or answer %}"
    "{{- '\\n' }}"
    "{%- endif %}"
    "{%- if call.function %}"
    "{%- set call = call.function %}"
    "{%- endif %}"
    "{{- '<tool_call>\\n{\"name\": \"' + call.name + '\", \"arguments\": ' }}"
    "{%- if call.arguments is string %}"
    "{{- call.arguments }}"
    "{%- else %}"
    "{{- call.arguments | tojson }}"
    "{%- endif %}"
    "{{- '}\\n</tool_call>' }}"
    "{%- endfor %}"
    "{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- elif message.role == \"tool\" %}"
    "{%- if loop.first or messages[loop.index0 - 1].role != \"tool\" %}"
    "{{- '<|im_start|>user' }}"
    "{%- endif %}"
    "{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != \"tool\" %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}"
    "{%- endif %}";

const char *dlx_published_template(uint32_t number)
{
    switch (number) {
    case DLX_CHAT_PUBLISHED_LLADA: return llada;
    case DLX_CHAT_PUBLISHED_DREAM: return CHATML("You are a helpful assistant.");
    case DLX_CHAT_PUBLISHED_QWEN: return CHATML("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
    case DLX_CHAT_PUBLISHED_SDAR: return sdar;
    default: return NULL;
    }
}
