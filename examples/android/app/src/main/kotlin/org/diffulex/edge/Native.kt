package org.diffulex.edge

/** Gets text as it becomes final, and an empty piece behind every pass; the native code calls it. False ends the answer. */
internal fun interface TextListener {
    fun onText(utf8: ByteArray): Boolean
}

/** dlx_jni.c. A handle is used by one thread at a time. */
internal object Native {
    init {
        System.loadLibrary("dlx_jni")
    }

    @JvmStatic
    external fun open(path: ByteArray): Long

    @JvmStatic
    external fun close(handle: Long)

    @JvmStatic
    external fun generate(handle: Long, prompt: ByteArray, maxNewTokens: Int, listener: TextListener)
}
