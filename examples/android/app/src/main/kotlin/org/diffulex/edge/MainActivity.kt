package org.diffulex.edge

import android.os.Bundle
import android.system.Os
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.lifecycle.lifecycleScope
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import java.io.File

/** A question, an answer that grows, and a button that stops it. The model is model.pte in the app's files. */
class MainActivity : ComponentActivity() {
    private var model: DiffulexModel? = null
    private var job: Job? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        // Where the DSP looks for Qualcomm's libraries (libQnnHtpV75Skel.so): before a program for it is opened.
        Os.setenv("ADSP_LIBRARY_PATH", applicationInfo.nativeLibraryDir, true)
        val question = EditText(this).apply { hint = "Ask" }
        val button = Button(this).apply { text = "Answer"; isEnabled = false }
        val answer = TextView(this)
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            addView(question)
            addView(button)
            addView(ScrollView(context).apply { addView(answer) })
        })
        button.setOnClickListener {
            val running = job
            if (running?.isActive == true) {
                running.cancel()
            } else {
                job = lifecycleScope.launch { ask(question.text.toString(), answer, button) }
            }
        }
        lifecycleScope.launch {
            val file = File(filesDir, "model.pte")
            runCatching { withContext(Dispatchers.IO) { DiffulexModel(file.path) } }
                .onSuccess { model = it; button.isEnabled = true }
                .onFailure { answer.text = it.message }
        }
    }

    private suspend fun ask(prompt: String, answer: TextView, button: Button) {
        answer.text = ""
        button.text = "Stop"
        try {
            model?.generate(prompt)?.collect { piece -> answer.append(piece) }
        } catch (e: CancellationException) {
            throw e // Stop, which is an IllegalStateException as well
        } catch (e: Exception) {
            answer.text = e.message // dlx_jni.c: IllegalArgument-, IllegalState- and IOException
        } catch (e: OutOfMemoryError) {
            answer.text = e.message
        } finally {
            button.text = "Answer"
        }
    }

    override fun onDestroy() {
        job?.cancel()
        model?.let { closing -> Thread { closing.close() }.start() } // waits for the pass at work
        super.onDestroy()
    }
}
