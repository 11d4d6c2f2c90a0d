// Every word of the page, in its languages. What the network and the server say (classes, errors) stays as it is.

import { keep, kept } from "./kept.js";

export const WORDS = {
  en: {
    skip: "To the answer", language: "Language",
    about: "What a VGG network makes of a photo, and why.",
    photo: "Photo", drop: "Drop a photo here, paste one, or", choose: "choose a file", camera: "take a photo",
    shoot: "take it", stop: "cancel", noCamera: "There is no camera here, or it is not allowed.",
    notPhoto: "That is no JPEG, PNG or WebP picture.", tooLarge: "The photo is larger than 20 MiB.",
    gone: "The server does not answer. Is it still running?",
    token: "This server asks for a token:", proceed: "Continue",
    answer: "Answer", model: "Model", compare: "compare with", nobody: "none", noAnswer: "No answer yet.",
    unknown: "Probably none of the model's classes.",
    vector: "A vector of {numbers} numbers, by which photos are compared: verydeep search finds those that are alike.",
    took: "answered in {ms} ms",
    why: "Why", method: "Method", class: "for", best: "the answer", layer: "Layer", last: "the last convolution",
    part: "explain", edge_: "the class", edge_left: "the left edge of its box", edge_top: "the upper edge of its box",
    edge_right: "the right edge of its box", edge_bottom: "the lower edge of its box", edge_all: "all edges of its box",
    secondHint: "What makes the photo like another one?", chooseSecond: "choose the other photo",
    secondAlt: "The photo that it is compared with", alike: "{similarity} like the other photo",
    gradcam: "bright is where the layer's maps speak for it",
    gradient: "bright is where a small change would change it",
    guided: "what raised it, through active units",
    deconvnet: "the pattern that it looks for here",
    integrated: "the pixels that made it, or spoke against it",
    occlusion: "bright is where covering a square lowers it",
    nowhere: "nothing in the photo speaks for it", where: "half of the brightness is in {share} % of the picture, most {place}",
    place0: "in the upper left", place1: "at the top", place2: "in the upper right",
    place3: "on the left", place4: "in the middle", place5: "on the right",
    place6: "in the lower left", place7: "at the bottom", place8: "in the lower right",
    fade: "photo – map", seenHint: "This is the square that the network gets, after resizing and cropping. "
      + "Point at it to see what one unit of the chosen layer looks at.",
    network: "Network", show: "Show", ofModel: "the model's",
    networkText: "{layers} layers with weights, {parameters} parameters, {macs} multiplications for a picture of "
      + "{side} × {side} pixels. Choose a layer.",
    maps: "show its maps of the photo",
    name: "Layer", kind: "Kind", shape: "Output shape", parameters: "Parameters", macs: "MACs",
    memory: "Output in memory", field: "Receptive field", stride: "Stride", share: "Share of the time here",
    input: "the picture", conv: "convolution", pool: "max pooling", fc: "fully connected", gap: "global average",
    lrn: "response normalisation", unpool: "max unpooling", unit: "length 1", pixels: "{n} × {n} pixels", seenAlt: "What the network gets",
    heatAlt: "Map of {method}", photoAlt: "Your photo",
    textA: "A: eight convolutions and three fully connected layers. It was trained first, and its layers started the deeper ones.",
    "textA-LRN": "A-LRN: A with a normalisation of neighbouring channels after its first layer, which did not help.",
    textB: "B: a second convolution in each of the first two blocks, so every block has two. Two of 3 × 3 see as much as one of 5 × 5, with fewer parameters and one more ReLU.",
    textC: "C: a third convolution of 1 × 1 in each of the last three blocks: one more ReLU, but no wider view.",
    textD: "D, VGG-16: the 1 × 1 convolutions of C become 3 × 3, which see what is around. The one that everybody uses.",
    textE: "E, VGG-19: four convolutions in each of the last three blocks. In the paper the error stops falling here.",
    mapsTitle: "{layer}: {shown} of {all} channels, the most excited first", mapAlt: "Channel {channel} of {layer}",
    allAbout: "All about configuration {name}", builtOn: "It is built on configuration {name}",
    aboutNetworks: "The networks of the paper", skipToWalk: "To the walk through its shapes",
    configurationTitle: "Configuration {name}", configuration: "Network", pictureTitle: "Its layers",
    layersWithWeights: "Layers with weights", layersShort: "Layers", outputs: "All outputs for one picture", fileSize: "Its weights in a file",
    whereParameters: "Most parameters", inFc: "{share} in the fully connected layers",
    whereMacs: "Most of the work", inConv: "{share} of the MACs in the convolutions",
    asMany: "as in {name}", moreThan: "{more} more than {name}",
    errorsTitle: "Errors in the paper", trainedAt: "Trained at", testedAt: "Tested at", top1: "Top-1 error", top5: "Top-5 error",
    errorsHint: "Of the 50,000 validation photos of ImageNet 2012 (Tables 3 and 4). The scales are the photos' shorter sides in pixels; "
      + "the network is applied to the whole photo and to its mirror image. Of several test scales the answers are averaged.",
    besideTitle: "Beside the others", besideHint: "Errors: trained and tested at 256 pixels. One MAC is a multiplication and its addition. "
      + "What pooling and normalisation compute is not counted.",
    walkTitle: "A walk through the shapes", walkHint: "Height × width × channels, from the picture to the scores. Memory is for one "
      + "picture, 4 bytes a value; each output is counted once.",
    block: "Block {n}", head: "Head", start: "The picture", output: "Output", and: " and ", between: " ", eachOnce: "each weight once",
    tellInput: "The picture: {shape}, which is {values} values, less the mean colour of the training photos.",
    tellConv: "One convolution of {kernels}, followed by a ReLU, turns {from} maps into {channels}. A border of zeros keeps them at {side} × {side}.",
    tellConvs: "{n} convolutions of {kernels}, each followed by a ReLU, turn {from} maps into {channels}. A border of zeros keeps them at {side} × {side}.",
    tellLrn: "Then each value is divided by a measure of the neighbouring channels at the same place; that has no weights.",
    tellOne: "The 1 × 1 convolution mixes the channels at each place and does not look around.",
    tellPool: "The pool keeps the largest of every 2 × 2 values, so {side} becomes {half}. A value has now seen {field} × {field} pixels of the picture, its neighbour as many, {stride} pixels further on.",
    tellHead: "{first} takes the last map whole: {shape} are {values} values, and each of its {units} units has a weight for each of them. So {share} of all parameters are in this one layer. {second} has as many units, each with a weight for every unit of {first}; a ReLU follows both. {last} gives a score for each of the {classes} classes; softmax makes probabilities of them.",
    withPhoto: "See what a network makes of a photo", paper: "The paper: Simonyan & Zisserman (2014), arXiv 1409.1556",
    storyA: "It is shallow enough to be trained from random numbers. Its first four convolutions and its three fully connected layers then gave the deeper configurations their start. After the submission the authors found a random start, that of Glorot and Bengio, which makes this needless.",
    "storyA-LRN": "AlexNet had used local response normalisation, so the authors tried it here. The error did not fall, while memory and time grew; B to E do without it.",
    storyB: "The authors also tried the swap: B with each pair of 3 × 3 convolutions replaced by one of 5 × 5. Its top-1 error was 7 % higher (on the centre crop): a deep net of small filters beats a shallower one of larger filters.",
    storyC: "C errs less than B, so a further ReLU helps by itself. It errs more than D, which is as deep: to look around helps, too.",
    storyD: "From C to D nothing changes but these three kernels, and the error falls. Trained with photos of varied size it errs less still, and nearly as little as E. Together with E it gave the best of the authors' own results.",
    storyE: "Trained at one size it is no better than D; with photos of varied size it is, by a hair. The authors conclude that the error of such networks stops falling at 19 layers, and that larger data sets might make use of more.",
    private: "The photo goes to this server alone, and is not kept.", programs: "For programs",
  },
  zh: {
    skip: "跳到结果", language: "语言",
    about: "看看 VGG 网络把一张照片认成什么，以及为什么。",
    photo: "照片", drop: "把照片拖到这里、粘贴，或", choose: "选择文件", camera: "拍照",
    shoot: "拍下", stop: "取消", noCamera: "这里没有摄像头，或未获许可。",
    notPhoto: "这不是 JPEG、PNG 或 WebP 图片。", tooLarge: "照片大于 20 MiB。",
    gone: "服务器没有应答。它还在运行吗？",
    token: "这台服务器需要令牌：", proceed: "继续",
    answer: "结果", model: "模型", compare: "对比", nobody: "无", noAnswer: "还没有结果。",
    unknown: "很可能不属于模型的任何类别。",
    vector: "由 {numbers} 个数组成的向量，用于比较照片：verydeep search 可查找相似的照片。",
    took: "用时 {ms} 毫秒",
    why: "为什么", method: "方法", class: "类别", best: "预测的类别", layer: "层", last: "最后一个卷积层",
    part: "解释", edge_: "类别", edge_left: "边框的左边缘", edge_top: "边框的上边缘",
    edge_right: "边框的右边缘", edge_bottom: "边框的下边缘", edge_all: "边框的所有边缘",
    secondHint: "是什么让这张照片与另一张相似？", chooseSecond: "选择另一张照片",
    secondAlt: "用于比较的照片", alike: "与另一张照片的相似度 {similarity}",
    gradcam: "亮处是该层特征图支持这一类别的地方", gradient: "亮处稍有变化就会改变结果",
    guided: "经过活跃单元、提高了得分的图案", deconvnet: "网络在这里寻找的图案",
    integrated: "提高或拉低得分的像素", occlusion: "遮住亮处会使概率下降",
    nowhere: "照片中没有支持它的地方", where: "一半的亮度集中在图片 {share} % 的面积内，主要在{place}",
    place0: "左上", place1: "上方", place2: "右上", place3: "左侧", place4: "中间", place5: "右侧",
    place6: "左下", place7: "下方", place8: "右下",
    fade: "照片 – 热图", seenHint: "这是缩放和裁剪之后网络得到的方块。把指针移到上面，可以看到所选层的一个单元看见的区域。",
    network: "网络", show: "显示", ofModel: "模型的网络",
    networkText: "{layers} 个带权重的层，{parameters}个参数；一张 {side} × {side} 像素的图片需要 {macs}次乘法。请选择一层。",
    maps: "显示它对照片的特征图",
    name: "层", kind: "类型", shape: "输出形状", parameters: "参数", macs: "乘加次数",
    memory: "输出占用内存", field: "感受野", stride: "步长", share: "在本机的耗时占比",
    input: "图片", conv: "卷积", pool: "最大池化", fc: "全连接", gap: "全局平均", lrn: "局部响应归一化",
    unpool: "最大反池化", unit: "单位长度",
    pixels: "{n} × {n} 像素", seenAlt: "网络得到的图片", heatAlt: "{method} 的热图", photoAlt: "你的照片",
    textA: "A：八个卷积层和三个全连接层。最先训练的网络，它的层是更深网络的起点。",
    "textA-LRN": "A-LRN：在 A 的第一层之后加上相邻通道的归一化，没有帮助。",
    textB: "B：前两个块各增加一个卷积，于是每个块都有两个。两个 3 × 3 与一个 5 × 5 看得一样宽，参数更少，多一个 ReLU。",
    textC: "C：后三个块各多一个 1 × 1 卷积：多一个 ReLU，但视野不变。",
    textD: "D，即 VGG-16：C 的 1 × 1 卷积变成 3 × 3，能看到周围。是最常用的配置。",
    textE: "E，即 VGG-19：后三个块各有四个卷积。论文中错误率到此不再下降。",
    mapsTitle: "{layer}：{all} 个通道中的 {shown} 个，最活跃的在前", mapAlt: "{layer} 的第 {channel} 个通道",
    allAbout: "配置 {name} 的详细说明", builtOn: "它基于配置 {name}",
    aboutNetworks: "论文中的网络", skipToWalk: "跳到各层形状",
    configurationTitle: "配置 {name}", configuration: "网络", pictureTitle: "它的各层",
    layersWithWeights: "带权重的层", layersShort: "层数", outputs: "一张图片的全部输出", fileSize: "权重文件大小",
    whereParameters: "参数集中在", inFc: "全连接层占 {share}",
    whereMacs: "计算集中在", inConv: "卷积层占乘加次数的 {share}",
    asMany: "与 {name} 相同", moreThan: "比 {name} 多 {more}",
    errorsTitle: "论文中的错误率", trainedAt: "训练尺度", testedAt: "测试尺度", top1: "Top-1 错误率", top5: "Top-5 错误率",
    errorsHint: "在 ImageNet 2012 的 50,000 张验证照片上（表 3 和表 4）。尺度是照片短边的像素数；网络应用于整张照片及其镜像。多个测试尺度的结果取平均。",
    besideTitle: "与其他配置比较", besideHint: "错误率：训练和测试尺度均为 256 像素。一次乘加是一次乘法和一次加法。池化和归一化的运算不计入。",
    walkTitle: "逐块看形状", walkHint: "高 × 宽 × 通道，从图片到得分。内存按一张图片、每个值 4 字节计算，每个输出只计一次。",
    block: "第 {n} 块", head: "分类头", start: "图片", output: "输出", and: " 和 ", between: "", eachOnce: "每个权重用一次",
    tellInput: "图片：{shape}，共 {values} 个值，已减去训练照片的平均颜色。",
    tellConv: "一个 {kernels} 卷积（之后有 ReLU）由 {from} 个通道得到 {channels} 个特征图。四周补零，大小保持 {side} × {side}。",
    tellConvs: "{n} 个 {kernels} 卷积（每个之后有 ReLU）由 {from} 个通道得到 {channels} 个特征图。四周补零，大小保持 {side} × {side}。",
    tellLrn: "然后每个值除以同一位置相邻通道的一个量度；这一步没有权重。",
    tellOne: "1 × 1 卷积只在每个位置混合各通道，不看周围。",
    tellPool: "池化保留每 2 × 2 个值中最大的一个，{side} 变为 {half}。此时一个值看到图片的 {field} × {field} 像素，相邻的值看到的区域错开 {stride} 像素。",
    tellHead: "{first} 取整个最后的特征图：{shape} 即 {values} 个值，它的 {units} 个单元对每个值各有一个权重，因此全部参数的 {share} 在这一层。{second} 有同样多的单元，每个单元对 {first} 的每个单元各有一个权重；两层之后都有 ReLU。{last} 为 {classes} 个类别各给出一个得分，softmax 把它们变成概率。",
    withPhoto: "用一张照片试试网络", paper: "论文：Simonyan 与 Zisserman（2014），arXiv 1409.1556",
    storyA: "它足够浅，可以从随机初始化开始训练。它的前四个卷积层和三个全连接层随后成为更深配置的起点。提交之后，作者发现用 Glorot 与 Bengio 的随机初始化就不再需要这样做。",
    "storyA-LRN": "AlexNet 用过局部响应归一化，所以作者在这里试了试。错误率没有下降，内存和时间却增加了；B 到 E 都不用它。",
    storyB: "作者还做了对比：把 B 中每一对 3 × 3 卷积换成一个 5 × 5 卷积，Top-1 错误率高出 7 %（中心裁剪）：小卷积核的深网络胜过大卷积核的浅网络。",
    storyC: "C 的错误率低于 B，说明多一个 ReLU 本身就有帮助；又高于同样深的 D，说明看到周围也有帮助。",
    storyD: "从 C 到 D 只改变了这三个卷积核，错误率就下降了。用大小多变的照片训练，错误率更低，几乎与 E 一样。它与 E 合用是作者自己的最好结果。",
    storyE: "在单一尺度上训练，它并不比 D 好；用大小多变的照片训练，则略好一点。作者的结论是：这类网络到 19 层错误率不再下降，更大的数据集也许能用上更深的网络。",
    private: "照片只发送到这台服务器，不会保存。", programs: "供程序使用",
  },
};

let chosen = "en";

/** The words of one key in the chosen language; {name} becomes what is given for it. */
export function say(key, given = {}) {
  return WORDS[chosen][key].replace(/\{(\w+)\}/g, (_, name) => given[name]);
}

/** The language that was chosen last, else the browser's. Another program at this address may have stored any word. */
export function preferred() {
  const stored = kept("localStorage", "language");
  return Object.hasOwn(WORDS, stored) ? stored : navigator.language.startsWith("zh") ? "zh" : "en";
}

/** Writes every element that has a key, in this language, and remembers it. */
export function speak(language) {
  chosen = language;
  keep("localStorage", "language", language);
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
  for (const element of document.querySelectorAll("[data-words]")) element.textContent = say(element.dataset.words);
}
